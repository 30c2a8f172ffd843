"""The golden pictures that one request each draws, beside what a worker draws."""

import base64
import io
import json

import numpy as np
from PIL import Image

from worker import Worker

# A worker draws nothing smaller.
SIDE_MIN = 64
MODELS = ("sd1", "sd2", "sdxl", "sdxl_refiner")

# What diffusers calls it, and what a request does. `clip_skip` is beyond the encoders of the small models for a worker.
FIELDS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance_scale",
    "guidance_rescale": "guidance_rescale",
    "width": "width",
    "height": "height",
    "strength": "strength",
    "original_size": "original_size",
    "crops_coords_top_left": "crops_coords_top_left",
    "target_size": "target_size",
}


def distance(files, expected):
    """The largest and the mean difference of a byte; several pictures of a job follow each other in `expected`."""
    found = np.concatenate([pixels(file).ravel() for file in files])
    away = np.abs(found - expected.ravel())
    return {"worst": int(away.max()), "mean": round(float(away.mean()), 3)}


def pixels(file):
    """`[height, width, 3]`, of a type that differences fit into."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(np.int16)


def goldens(folder):
    """Name, request and expected pictures of every golden that is one request."""
    for case in json.loads((folder / "pictures.json").read_text()):
        name = case.pop("file")
        if min(case["width"], case["height"]) < SIDE_MIN:
            continue
        yield name, case, pixels((folder / "pictures" / name).read_bytes())
    for case in json.loads((folder / "families.json").read_text()):
        arguments = dict(case["arguments"])
        end = arguments.pop("denoising_end", None)
        is_one_request = case["model"] in MODELS and not case.get("scheduler_config") and not case.get("mask")
        if not is_one_request or not set(arguments) <= set(FIELDS) or bool(end) != bool(case.get("refiner")):
            continue
        if any(seed != case["seeds"][0] + index for index, seed in enumerate(case["seeds"])):
            continue
        job = {FIELDS[key]: value for key, value in arguments.items() if value is not None}
        job |= {"model": case["model"], "scheduler": case["scheduler"]}
        job |= {"seed": case["seeds"][0], "batch_size": len(case["seeds"])}
        if end:
            job["refiner"] = {"model": case["refiner"], "switch_at": end}
        if case.get("image"):
            file = (folder / "families" / case["image"]).read_bytes()
            job["height"], job["width"] = pixels(file).shape[:2]
            job["image"] = base64.b64encode(file).decode()
        yield case["file"], job, pixels((folder / "families" / case["file"]).read_bytes())


def compare(binary, folder, device, dtype):
    """How far each golden picture is from what the worker draws: the largest and the mean difference of a byte."""
    models = [f"--model={name}={folder / name}" for name in MODELS]
    rows = []
    with Worker(binary, "--device", device, "--dtype", dtype, *models) as worker:
        for name, job, expected in goldens(folder):
            try:
                _, found = worker.draw(job)
                rows.append({"golden": name, **distance(found, expected)})
            except (RuntimeError, ValueError) as error:
                rows.append({"golden": name, "error": str(error)})
        return {"dtype": dtype, "devices": worker.devices, "ready_seconds": round(worker.ready_seconds, 2), "rows": rows}
