"""Random jobs, drawn by a worker over HTTP and by diffusers, and how far apart the pictures are.

    python diffusers_pictures.py WORKER_BINARY [--count 20] [--seed 0]

The worker is started on a free port with the tiny models of `tests/goldens` and the built-in one; each job takes a
random family, scheduler, spacing, size, number of steps, guidance and seed, and starts from noise, from a picture or
from a picture with a mask. Ends with an error when a difference is beyond the tolerance.
"""

import argparse
import base64
import io
import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    DiffusionPipeline,
    LatentConsistencyModelPipeline,
    StableDiffusionInpaintPipeline,
)
from PIL import Image

GOLDENS = Path(__file__).parent.parent / "goldens"
sys.path.insert(0, str(GOLDENS))
from schedulers import SCHEDULERS, SWITCHES, aligned_timesteps, parameters  # noqa: E402

BUILTIN = GOLDENS.parent.parent / "worker" / "builtin" / "model"
MODELS = {name: GOLDENS / name for name in ("sdxl", "inpaint", "lcm")} | {"builtin": BUILTIN}
TOLERANCE = 2
# Spacings that diffusers is told as a list of timesteps.
NAMED = ("simple", "ays")
WORDS = "a red blue hot air balloon house tree over the sea green hills mountains at night noon sunset".split()


class Worker:
    """A worker of its own, ended with the block."""

    def __init__(self, binary):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        flags = [f"--model={name}={path}" for name, path in MODELS.items() if name != "builtin"]
        command = [binary, "serve", "--ephemeral", "--listen", self.address, *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(600):
            try:
                if self.call("/ready")["status"] == "ready":
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit("the worker did not start")
            time.sleep(0.1)
        raise SystemExit("the worker is not ready after a minute")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def call(self, path, body=None, raw=False):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}", data, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{path}: {error.read().decode()}") from error
        return content if raw else json.loads(content)

    def draw(self, job):
        view = self.call("/v1/jobs", job)
        while view["state"] in ("queued", "running"):
            time.sleep(0.05)
            view = self.call(f"/v1/jobs/{view['id']}")
        if view["state"] != "succeeded":
            raise SystemExit(f"the worker failed: {json.dumps(view, indent=1)}")
        pictures = (self.call(image["url"], raw=True) for image in view["images"])
        return [np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=np.int16) for picture in pictures]


def random_job(rng, catalogue):
    model = rng.choice(list(MODELS))
    scheduler = rng.choice(catalogue["schedulers"])
    if model == "lcm":
        scheduler = next(entry for entry in catalogue["schedulers"] if entry["name"] == "lcm")
    width, height = (8 * rng.randint(8, 14) for _ in range(2))
    job = {
        "model": model,
        "prompt": " ".join(rng.choices(WORDS, k=rng.randint(3, 12))),
        "width": width,
        "height": height,
        "steps": rng.randint(4, 12),
        "eta": 0.0,
        "guidance_scale": rng.choice([1.0, 3.0, 5.5, 7.5]),
        "seed": rng.randrange(1 << 32),
        "batch_size": rng.choice([1, 1, 2]),
        "scheduler": scheduler["name"],
        "sigmas": rng.choice(scheduler["sigmas"]),
    }
    if model != "lcm" and rng.random() < 0.5:
        job["negative_prompt"] = rng.choice(["", "a " + rng.choice(WORDS)])
    kinds = {"lcm": ["text"], "inpaint": ["inpaint"]}.get(model, ["text", "image", "inpaint"])
    kind = rng.choice(kinds)
    if kind != "text" and job["sigmas"] in NAMED:
        # Not every pipeline of diffusers takes timesteps together with a strength.
        job["sigmas"] = "default"
    if kind == "inpaint" or scheduler["name"] == "dpmpp_sde":
        # Diffusers draws a part of the noise of such a batch from its first generator only.
        job["batch_size"] = 1
    if kind != "text":
        job |= {"image": encoded(noise_picture(rng, width, height)), "strength": rng.choice([0.4, 0.6, 0.8])}
    if kind == "inpaint":
        job |= {"mask": encoded(random_mask(rng, width, height)), "strength": rng.choice([0.6, 1.0])}
    return job, kind


def noise_picture(rng, width, height):
    """Soft blobs of colour."""
    small = np.array([rng.randrange(256) for _ in range(5 * 4 * 3)], dtype=np.uint8).reshape(5, 4, 3)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def random_mask(rng, width, height):
    mask = np.zeros((height, width), np.uint8)
    left, top = rng.randrange(width // 2), rng.randrange(height // 2)
    mask[top : top + rng.randint(16, height // 2), left : left + rng.randint(16, width // 2)] = 255
    return Image.fromarray(mask)


def encoded(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def decoded(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def scheduler_of(job, config):
    """The scheduler that the worker's names stand for, with the model's configuration."""
    cls, chosen = SCHEDULERS[job["scheduler"]]
    settings, sigmas = dict(chosen), job["sigmas"]
    if sigmas != "default":
        settings |= {switch: switch == SWITCHES.get(sigmas) for switch in SWITCHES.values() if switch in parameters(cls)}
    if sigmas == "sgm_uniform":
        settings["timestep_spacing"] = "trailing"
    if job["scheduler"] == "dpmpp_sde":
        settings["noise_sampler_seed"] = job["seed"]
    if job["model"] != "sdxl" and "clip_sample" in parameters(cls):
        # What the pipelines of Stable Diffusion 1 and 2 do to any scheduler that they are built with.
        settings["clip_sample"] = False
    return cls.from_config(config, **settings)


def named_timesteps(job, scheduler):
    steps, count = job["steps"], scheduler.config.num_train_timesteps
    if job["sigmas"] == "ays":
        return aligned_timesteps(scheduler, "sdxl" if job["model"] == "sdxl" else "sd15", steps)
    return [count - 1 - int(i * (count / steps)) for i in range(steps)]


class Diffusers:
    """The same models in diffusers."""

    def __init__(self):
        self.loaded = {}

    def pipeline(self, job, kind):
        name = job["model"]
        if name not in self.loaded:
            classes = {"lcm": LatentConsistencyModelPipeline, "inpaint": StableDiffusionInpaintPipeline}
            settings = {"torch_dtype": torch.float32} | ({} if name == "sdxl" else {"safety_checker": None})
            pipeline = classes.get(name, DiffusionPipeline).from_pretrained(MODELS[name], **settings)
            pipeline.set_progress_bar_config(disable=True)
            self.loaded[name] = pipeline, pipeline.scheduler.config
        pipeline, config = self.loaded[name]
        if kind == "image":
            pipeline = AutoPipelineForImage2Image.from_pipe(pipeline)
        elif kind == "inpaint" and name != "inpaint":
            pipeline = AutoPipelineForInpainting.from_pipe(pipeline)
        pipeline.scheduler = scheduler_of(job, config)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def draw(self, job, kind):
        pipeline = self.pipeline(job, kind)
        batch = job["batch_size"]
        arguments = {
            "prompt": job["prompt"],
            "num_inference_steps": job["steps"],
            "guidance_scale": job["guidance_scale"],
            "num_images_per_prompt": batch,
            "generator": [torch.Generator().manual_seed(job["seed"] + item) for item in range(batch)],
            "output_type": "np",
        }
        if job["model"] != "lcm":
            arguments["negative_prompt"] = job.get("negative_prompt")
        if job["sigmas"] in NAMED:
            arguments["timesteps"] = named_timesteps(job, pipeline.scheduler)
        if kind != "image":
            arguments |= {"width": job["width"], "height": job["height"]}
        if kind != "text":
            arguments |= {"image": decoded(job["image"]), "strength": job["strength"]}
        if kind == "inpaint":
            arguments["mask_image"] = decoded(job["mask"])
        with torch.no_grad():
            pictures = pipeline(**arguments).images
        pictures = [np.round(picture * 255).astype(np.int16) for picture in pictures]
        if kind == "inpaint":
            # The worker puts back what the mask leaves out, byte for byte.
            keep = np.asarray(decoded(job["mask"]).convert("L"))[..., None] < 128
            original = np.asarray(decoded(job["image"]).convert("RGB"), dtype=np.int16)
            pictures = [np.where(keep, original, picture) for picture in pictures]
        return pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("worker")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, diffusers, worst = random.Random(arguments.seed), Diffusers(), 0
    with Worker(arguments.worker) as worker:
        catalogue = worker.call("/v1/models")
        for number in range(arguments.count):
            job, kind = random_job(rng, catalogue)
            pairs = zip(worker.draw(job), diffusers.draw(job, kind), strict=True)
            difference = max(int(np.abs(ours - theirs).max()) for ours, theirs in pairs)
            worst = max(worst, difference)
            size = f"{job['width']}×{job['height']}×{job['batch_size']}"
            print(
                f"{number + 1:3}/{arguments.count}  {difference:3}/255  {job['model']:8} {kind:7} {job['scheduler']:12}"
                f" {job['sigmas']:12} {size:9} steps {job['steps']:2} guidance {job['guidance_scale']} seed {job['seed']}",
                flush=True,
            )
    print(f"largest difference {worst}/255, tolerance {TOLERANCE}/255")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
