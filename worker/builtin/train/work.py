"""The work dir: where things lie, on which device, and a record of every run."""

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch

from .fused import tiles

PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "numpy", "pillow", "safetensors")


@dataclass(frozen=True)
class Options:
    """What the command line said; `None` leaves a choice to the stage."""

    work_dir: Path
    device: str | None
    threads: int | None
    workers: int
    seed: int
    scenes: int
    encode: int | None
    minutes: float | None
    finish: bool
    steps: int | None
    batch: int | None
    lr: float | None
    compile: bool
    count: int
    sampling_steps: int
    guidance_scale: float


class Work:
    """Paths and device of one run."""

    def __init__(self, options: Options):
        self.options = options
        self.root = options.work_dir
        self.data = self.root / "data"
        self.latents = self.root / "latents"
        self.model = self.root / "model"
        self.sheets = self.root / "sheets"
        self.curves = self.root / "curves"
        for folder in (self.data, self.latents, self.model, self.sheets, self.curves):
            folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if options.threads:
            torch.set_num_threads(options.threads)
        if self.on_cuda:
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    def by_device(self, cpu, cuda):
        """One value for a CPU core, another for a data-centre GPU."""
        return cuda if self.on_cuda else cpu

    def autocast(self):
        """bf16 where the device multiplies it fast: GPUs, and CPUs with AMX; on other CPUs f32 is faster."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_cuda or tiles())

    def checkpoint(self, name: str) -> Path:
        return self.root / f"{name}.pt"

    def record(self, stage: str, **facts):
        """Adds a line to `runs.jsonl`: what ran, with which seeds and versions, and what came of it."""
        options = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self.options).items()}
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "stage": stage,
            **facts,
            "device": torch.cuda.get_device_name() if self.on_cuda else platform.machine(),
            "options": options,
            "python": sys.version.split()[0],
            "packages": versions(),
        }
        with (self.root / "runs.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def versions() -> dict[str, str | None]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def save(value, path: Path):
    """Writes beside `path` and renames, so that a run that is cut off leaves the last checkpoint whole.

    Processes that train together may save the same file at the same time."""
    unfinished = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    torch.save(value, unfinished)
    os.replace(unfinished, path)


def load(path: Path, device="cpu"):
    """A file that `save` wrote: tensors, numbers and containers only."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: run the earlier stages first.")
    return torch.load(path, map_location=device, weights_only=True)
