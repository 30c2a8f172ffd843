"""Random jobs, drawn by a worker over HTTP and by diffusers, and how far apart the pictures are.

    python diffusers_pictures.py WORKER_BINARY [--count 20] [--seed 0]

The worker is started on a free port with the models of `peer_models.py`; each in its turn gets a job with a random
scheduler, spacing, size, number of steps, guidance and seed, which starts from noise, from a picture or from a picture
with a mask, with a refiner and LoRAs where there are such. Ends with an error when a difference is beyond the tolerance.
"""

import argparse
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting
from diffusers.utils import set_weights_and_activate_adapters
from PIL import Image

import peer_models
import random_loras
from peer_models import MODELS, REFINER
from random_jobs import NAMED, decoded, described, random_job
from schedulers import SCHEDULERS, SWITCHES, aligned_timesteps, parameters

TOLERANCE = 2


class Worker:
    """A worker of its own, ended with the block."""

    def __init__(self, binary, folders, loras):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        flags = [f"--model={name}={path}" for name, path in folders.items() if name != "builtin"]
        command = [binary, "serve", "--ephemeral", "--listen", self.address, "--lora-dir", loras, *flags]
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
        if view["state"] != "succeeded" or view.get("warnings"):
            raise SystemExit(f"the worker failed or warns: {json.dumps(view, indent=1)}")
        pictures = (self.call(image["url"], raw=True) for image in view["images"])
        return [np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=np.int16) for picture in pictures]


def scheduler_of(job, model, config):
    """The scheduler that the worker's names stand for, with the model's configuration."""
    cls, chosen = SCHEDULERS[job["scheduler"]]
    settings, sigmas = dict(chosen), job["sigmas"]
    if sigmas != "default":
        settings |= {switch: switch == SWITCHES.get(sigmas) for switch in SWITCHES.values() if switch in parameters(cls)}
    if sigmas == "sgm_uniform":
        settings["timestep_spacing"] = "trailing"
    if job["scheduler"] == "dpmpp_sde":
        settings["noise_sampler_seed"] = job["seed"]
    if not model.is_xl and "clip_sample" in parameters(cls):
        # What the pipelines of Stable Diffusion 1 and 2 do to any scheduler that they are built with.
        settings["clip_sample"] = False
    return cls.from_config(config, **settings)


def named_timesteps(job, model, scheduler):
    steps, count = job["steps"], scheduler.config.num_train_timesteps
    if job["sigmas"] == "ays":
        return aligned_timesteps(scheduler, "sdxl" if model.is_xl else "sd15", steps)
    return [count - 1 - int(i * (count / steps)) for i in range(steps)]


class Diffusers:
    """The same models in diffusers."""

    def __init__(self, folders, loras):
        self.folders, self.loras, self.loaded = folders, loras, {}

    def base(self, name):
        """The pipeline of a model as it was loaded, and what its scheduler's configuration was then."""
        if name not in self.loaded:
            pipeline = peer_models.load(self.folders[name])
            self.loaded[name] = pipeline, pipeline.scheduler.config
        return self.loaded[name]

    def pipeline(self, job, model, kind):
        pipeline, config = self.base(model.name)
        if kind == "image":
            pipeline = AutoPipelineForImage2Image.from_pipe(pipeline)
        elif kind == "inpaint" and model.name != "inpaint":
            pipeline = AutoPipelineForInpainting.from_pipe(pipeline)
        pipeline.scheduler = scheduler_of(job, model, config)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def arguments(self, job):
        """What every pipeline of a job is called with."""
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
        sizes = ("original_size", "crops_coords_top_left", "target_size")
        arguments |= {key: tuple(job[key]) for key in sizes if key in job}
        return arguments | {key: job[key] for key in ("guidance_rescale",) if key in job}

    @torch.no_grad()
    def draw(self, job, model, kind):
        pipeline, arguments = self.pipeline(job, model, kind), self.arguments(job)
        if job["sigmas"] in NAMED:
            arguments["timesteps"] = named_timesteps(job, model, pipeline.scheduler)
        if kind != "image":
            arguments |= {"width": job["width"], "height": job["height"]}
        if kind != "text":
            arguments |= {"image": decoded(job["image"]), "strength": job["strength"]}
        if kind == "inpaint":
            arguments["mask_image"] = decoded(job["mask"])
        if "refiner" in job:
            arguments |= {"denoising_end": job["refiner"]["switch_at"], "output_type": "latent"}
        with self.adapted(self.base(model.name)[0], job.get("loras", [])):
            pictures = pipeline(**arguments).images
        if "refiner" in job:
            pictures = self.refined(job, pictures)
        pictures = [np.round(picture * 255).astype(np.int16) for picture in pictures]
        if kind == "inpaint":
            # The worker puts back what the mask leaves out, byte for byte.
            keep = np.asarray(decoded(job["mask"]).convert("L"))[..., None] < 128
            original = np.asarray(decoded(job["image"]).convert("RGB"), dtype=np.int16)
            pictures = [np.where(keep, original, picture) for picture in pictures]
        return pictures

    @contextmanager
    def adapted(self, pipeline, loras):
        """Has `loras` in the networks of `pipeline`, for all pipelines that share them."""
        for lora in loras:
            pipeline.load_lora_weights(self.loras / f"{lora['name']}.safetensors", adapter_name=lora["name"])
        # The pipelines' own `set_adapters` takes UNets for having as many layers in each block.
        for part in ("unet", "text_encoder", "text_encoder_2"):
            network = getattr(pipeline, part, None)
            here = [lora for lora in loras if lora["name"] in getattr(network, "peft_config", {})]
            if here:
                names, weights = ([lora[key] for lora in here] for key in ("name", "weight"))
                set_weights_and_activate_adapters(network, names, weights)
        yield
        if loras:
            pipeline.unload_lora_weights()

    def refined(self, job, latents):
        """What the refiner makes of the latents that the base model left."""
        pipeline, config = self.base(REFINER.name)
        pipeline.scheduler = scheduler_of(job, REFINER, config)
        pipeline.set_progress_bar_config(disable=True)
        arguments = self.arguments(job) | {"image": latents, "denoising_start": job["refiner"]["switch_at"]}
        return pipeline(**arguments, aesthetic_score=job["aesthetic_score"]).images


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("worker")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, worst, drawn = random.Random(arguments.seed), 0, Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        folders = peer_models.folders(folder)
        loras = folder / "loras"
        loras.mkdir()
        diffusers = Diffusers(folders, loras)
        for base in peer_models.LORA_BASES:
            random_loras.write(diffusers.base(base)[0], base, loras)
        with Worker(arguments.worker, folders, loras) as worker:
            catalogue = worker.call("/v1/models")
            for number in range(arguments.count):
                if number % len(MODELS) == 0:
                    turns = rng.sample(MODELS, len(MODELS))
                model = turns[number % len(MODELS)]
                job, kind = random_job(rng, model, catalogue)
                pairs = zip(worker.draw(job), diffusers.draw(job, model, kind), strict=True)
                difference = max(int(np.abs(ours - theirs).max()) for ours, theirs in pairs)
                worst = max(worst, difference)
                drawn.update([kind, *(part for part in ("refiner", "loras") if part in job)])
                print(f"{number + 1:3}/{arguments.count}  {difference:3}/255  {described(job, kind)}", flush=True)
    print(", ".join(f"{count} × {what}" for what, count in drawn.most_common()))
    print(f"largest difference {worst}/255, tolerance {TOLERANCE}/255")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
