"""Random jobs for the worker's HTTP API."""

import base64
import io

import numpy as np
from PIL import Image

import random_loras
from peer_models import REFINER

# Spacings that diffusers is told as a list of timesteps.
NAMED = ("simple", "ays")
WORDS = "a red blue hot air balloon house tree over the sea green hills mountains at night noon sunset".split()


def random_job(rng, model, catalogue):
    """A job for `model`, and from what it starts: text, image or inpaint."""
    known = [entry for entry in catalogue["schedulers"] if entry["name"] in (model.schedulers or (entry["name"],))]
    scheduler, kind = rng.choice(known), rng.choice(model.kinds)
    width, height = (8 * rng.randint(8, 14) for _ in range(2))
    job = {
        "model": model.name,
        "prompt": " ".join(rng.choices(WORDS, k=rng.randint(3, 12))),
        "width": width,
        "height": height,
        "steps": rng.randint(4, 12),
        "guidance_scale": rng.choice([1.0, 3.0, 5.5, 7.5]),
        "seed": rng.randrange(1 << 32),
        "batch_size": rng.choice([1, 1, 2]),
        "scheduler": scheduler["name"],
        "sigmas": rng.choice(scheduler["sigmas"]),
    }
    if scheduler["name"] in ("ddim", "tcd"):
        job["eta"] = 0.0
    if model.name != "lcm" and job["guidance_scale"] > 1 and rng.random() < 0.5:
        job["negative_prompt"] = rng.choice(["", "a " + rng.choice(WORDS)])
    if model.is_turbo:
        job |= {"steps": rng.randint(2 if kind == "image" else 1, 4), "guidance_scale": rng.choice([0.0, 1.0])}
        job.pop("negative_prompt", None)
    if model.is_turbo or model.name == "sd2_zero_snr" or (job["sigmas"] in NAMED and (kind != "text" or model.refiner)):
        # Not every pipeline of diffusers takes timesteps together with a strength.
        job["sigmas"] = "default"
    if model.name == "sd2_zero_snr" and kind == "text" and job["guidance_scale"] > 1:
        job["guidance_rescale"] = rng.choice([0.5, 0.7])
    if kind == "inpaint" or scheduler["name"] == "dpmpp_sde":
        # Diffusers draws a part of the noise of such a batch from its first generator only.
        job["batch_size"] = 1
    start(rng, job, kind)
    more(rng, job, model)
    return job, kind


def start(rng, job, kind):
    """What the job starts from."""
    size = job["width"], job["height"]
    if kind != "text":
        job |= {"image": encoded(noise_picture(rng, *size)), "strength": rng.choice([0.5, 0.6, 0.8])}
    if kind == "inpaint":
        job |= {"mask": encoded(random_mask(rng, *size)), "strength": rng.choice([0.6, 1.0])}


def more(rng, job, model):
    """A refiner, what SDXL is told about the picture, LoRAs."""
    if model.refiner:
        job["refiner"] = {"model": model.refiner, "switch_at": rng.choice([0.4, 0.6, 0.8])}
        job["aesthetic_score"] = rng.choice([3.5, 6.0, 7.25])
    if model.is_xl and rng.random() < 0.5:
        job["original_size"] = [rng.randint(64, 1024) for _ in range(2)]
        job["crops_coords_top_left"] = [rng.randint(0, 64) for _ in range(2)]
        job["target_size"] = [rng.randint(64, 1024) for _ in range(2)]
    if model.lora_base and rng.random() < 0.5:
        chosen = rng.choice([[0], [1], [0, 1]])
        names = random_loras.names(model.lora_base)
        job["loras"] = [{"name": names[which], "weight": rng.choice([-0.5, 0.4, 0.8, 1.0])} for which in chosen]


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


def described(job, kind):
    """One line."""
    size = f"{job['width']}×{job['height']}×{job['batch_size']}"
    parts = [f"{job['model']:12} {kind:7} {job['scheduler']:12} {job['sigmas']:12} {size:9}"]
    parts += [f"steps {job['steps']:2} guidance {job['guidance_scale']} seed {job['seed']}"]
    if "refiner" in job:
        parts.append(f"{REFINER.name} from {job['refiner']['switch_at']}")
    parts += [f"LoRA {lora['name']} {lora['weight']}" for lora in job.get("loras", [])]
    return "  ".join(parts)
