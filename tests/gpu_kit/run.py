#!/usr/bin/env python3
"""Shows what a worker does on this machine: whether it draws what diffusers draws, and how fast.

    ./run [--device cuda] [--report FOLDER]

Writes `report.md` and `report.json`. It needs Python, and to compare pictures NumPy and Pillow; times of Stable
Diffusion 1.5, and of diffusers beside them, need PyTorch with diffusers and a GPU. What cannot be run here says what it
needs. Ends with an error where a picture in f32 is farther from its golden than the tolerance.
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
    parser.add_argument("--configs", type=Path, default=HERE / "sd15", help="configuration of Stable Diffusion 1.5")
    arguments = parser.parse_args()
    add_libraries()
    report = {"machine": machine(), "device": arguments.device}
    parts = {
        "refusals": lambda: refusals(arguments.worker),
        "parity": lambda: parity(arguments.worker, arguments.goldens, arguments.device),
        "builtin": lambda: speed.builtin(arguments.worker, arguments.device),
        "stable_diffusion": lambda: stable_diffusion(arguments),
    }
    for name, part in parts.items():
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
    folders = [Path(place) / "cu13/lib" for place in (spec.submodule_search_locations if spec else [])]
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


def parity(worker, goldens, device):
    import drawing  # Needs NumPy and Pillow, which the other parts do without.

    tables = []
    for dtype in ("f32", "f16", "bf16"):
        try:
            tables.append(drawing.compare(worker, goldens, device, dtype))
        except NotStarted as error:
            tables.append({"dtype": dtype, "error": str(error)})
    return tables


def stable_diffusion(arguments):
    if not gpus() or not all(map(importlib.util.find_spec, ("torch", "diffusers", "transformers"))):
        return "not run: it needs an NVIDIA GPU, and PyTorch, diffusers and transformers"
    with tempfile.TemporaryDirectory() as scratch:
        return speed.stable_diffusion(
            arguments.worker, arguments.device, arguments.goldens, arguments.configs, Path(scratch)
        )


if __name__ == "__main__":
    main()
