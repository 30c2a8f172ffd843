#!/usr/bin/env python3
"""Shows what a worker does on this machine: whether it draws what diffusers draws, and how fast.

    ./run [--device cuda] [--report FOLDER] [--only operations,parity] [--compiled]

Writes `report.md` and `report.json`. It needs Python, and to compare pictures NumPy and Pillow; times of Stable
Diffusion 1.5 and XL, and of diffusers beside them, need PyTorch with diffusers and a GPU. What cannot be run here says
what it needs. Ends with an error where an operation is not what it should be, or a picture in f32 is farther from its
golden than the tolerance.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import tempfile
import traceback
from datetime import date
from pathlib import Path

import speed
from report import as_markdown, is_well
from worker import NotStarted, last_words

HERE = Path(__file__).resolve().parent
LIBRARIES = "LD_LIBRARY_PATH"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if gpus() else "cpu", help="as the worker's flag")
    parser.add_argument("--report", type=Path, default=Path.cwd(), help="folder for the report")
    parser.add_argument("--worker", type=Path, default=HERE / "sd-worker")
    parser.add_argument("--goldens", type=Path, default=HERE / "goldens")
    parser.add_argument("--configs", type=Path, default=HERE / "checkpoints", help="configurations of known models")
    parser.add_argument("--compiled", action="store_true", help="diffusers under torch.compile too, which takes minutes")
    parser.add_argument("--only", type=lambda names: names.split(","), help="parts of the report")
    arguments = parser.parse_args()
    add_libraries()
    report = {"machine": machine(), "device": arguments.device}
    parts = {
        "refusals": lambda: refusals(arguments.worker),
        "operations": lambda: operations(arguments.worker, arguments.device),
        "parity": lambda: parity(arguments.worker, arguments.goldens, arguments.device),
        "builtin": lambda: speed.builtin(arguments.worker, arguments.device),
        "sd15": lambda: stable_diffusion(arguments, "StableDiffusion"),
        "sdxl": lambda: stable_diffusion(arguments, "StableDiffusionXL"),
    }
    for name in arguments.only or parts:
        part = parts[name]
        print(f"{name} …", flush=True)
        try:
            report[name] = part()
        except Exception as error:  # One part that fails leaves the others their turn.
            traceback.print_exc()
            report[name] = f"not run: {error}"
        print(json.dumps(report[name]), flush=True)
        arguments.report.mkdir(parents=True, exist_ok=True)
        (arguments.report / "report.json").write_text(json.dumps(report, indent=1))
        (arguments.report / "report.md").write_text(as_markdown(report))
    raise SystemExit(0 if is_well(report) else "the report names what failed")


def gpus():
    """One line for each GPU: name, driver, memory, clock limits."""
    query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit"
    try:
        found = subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return found.stdout.strip().splitlines() if found.returncode == 0 else []


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = {
        "date": str(date.today()),
        "gpus": gpus() or "none",
        "cpu": next((line.split(": ")[1].strip() for line in lines if line.startswith("model name")), "?"),
        "threads": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in ("torch", "diffusers", "transformers"):
        if importlib.util.find_spec(name):
            found[name] = importlib.metadata.version(name)
    return found


def add_libraries():
    """Lets the worker find CUDA's libraries where PyTorch brought them."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else []
    folders = [Path(place) / name / "lib" for place in places for name in ("cu13", "cudnn")]
    known = [os.environ[LIBRARIES]] if os.environ.get(LIBRARIES) else []
    os.environ[LIBRARIES] = ":".join([*map(str, filter(Path.exists, folders)), *known])


def refusals(worker):
    """What a person reads where a device cannot be used."""
    said = {}
    for name, flags, change in (
        ("no such GPU", ["--device", "cuda:99"], {}),
        ("no GPU", ["--device", "cuda"], {"CUDA_VISIBLE_DEVICES": ""}),
        ("no libraries", ["--device", "cuda"], {LIBRARIES: ""}),
        ("not this build", ["--device", "metal"], {}),
    ):
        command = [worker, "serve", "--ephemeral", "--listen", "127.0.0.1:0", *flags]
        try:
            ended = subprocess.run(command, env={**os.environ, **change}, capture_output=True, text=True, timeout=20)
            said[name] = last_words(ended.stderr)
        except subprocess.TimeoutExpired:
            said[name] = "it started"
    return said


def operations(worker, device):
    """Every operation beside plain sums on the CPU, in each type."""
    found = []
    for dtype in ("f32", "f16", "bf16"):
        command = [worker, "check", "--json", "--device", device, "--dtype", dtype]
        ended = subprocess.run(command, capture_output=True, text=True)
        found += map(json.loads, ended.stdout.splitlines())
        if ended.returncode and not ended.stdout:
            raise RuntimeError(last_words(ended.stderr))
        if ended.returncode:
            print(last_words(ended.stderr), flush=True)
    return found


def parity(worker, goldens, device):
    import drawing  # Needs NumPy and Pillow, which the other parts do without.

    tables = []
    for dtype in ("f32", "f16", "bf16"):
        try:
            tables.append(drawing.compare(worker, goldens, device, dtype))
        except NotStarted as error:
            tables.append({"dtype": dtype, "error": str(error)})
    return tables


def stable_diffusion(arguments, model):
    if not gpus() or not all(map(importlib.util.find_spec, ("torch", "diffusers", "transformers"))):
        return "not run: it needs an NVIDIA GPU, and PyTorch, diffusers and transformers"
    import peers

    with tempfile.TemporaryDirectory() as scratch:
        peer = getattr(peers, model)(arguments.configs, arguments.goldens, Path(scratch) / "model")
        return speed.stable_diffusion(arguments.worker, arguments.device, peer, arguments.compiled)


if __name__ == "__main__":
    main()
