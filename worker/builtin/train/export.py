"""The finished model: a diffusers folder in f16 that `StableDiffusionPipeline.from_pretrained` loads and draws from."""

import json

import torch

from . import latents as latent_files
from . import sheets
from .networks import SIZE_LIMIT, new_scheduler
from .preview import load_preview
from .progress import say
from .prompts import SHEET
from .tokenizer import load as load_tokenizer
from .unet import Drawer
from .vae import load_vae
from .work import Work, load

_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
}


def run(work: Work):
    # The preview decoder's encoder is not trained; it is the same in every export all the same.
    torch.manual_seed(work.options.seed)
    drawer = Drawer(load_tokenizer(work).get_vocab_size())
    drawer.load_state_dict(load(work.checkpoint("unet"))["ema"])
    vae = load_vae(work).cpu()
    vae.register_to_config(scaling_factor=latent_files.scaling_factor(work))
    parts = {
        "text_encoder": drawer.text,
        "unet": drawer.unet,
        "vae": vae,
        "preview_decoder": load_preview(work).cpu(),
    }
    for name, part in parts.items():
        # Files hold no other order of memory than the plain one.
        part.to(dtype=torch.float16, memory_format=torch.contiguous_format)
        part.save_pretrained(work.model / name, safe_serialization=True)
    new_scheduler().save_pretrained(work.model / "scheduler")
    (work.model / "model_index.json").write_text(json.dumps(_INDEX, indent=2) + "\n")
    card = {
        "width": 256,
        "height": 256,
        "steps": 25,
        "guidance_scale": work.options.guidance_scale,
        "examples": list(SHEET[:6]),
    }
    (work.model / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    size = sum(file.stat().st_size for file in work.model.rglob("*") if file.is_file())
    say(f"export: {work.model}, {size / 1e6:.2f} MB of at most {SIZE_LIMIT / 1e6:.0f} MB")
    if size > SIZE_LIMIT:
        raise SystemExit("The model is too large: make the UNet's or the autoencoder's channels fewer in networks.py.")
    _draw_one(work)
    work.record("export", size_bytes=size)


def _draw_one(work: Work):
    """The folder must load in diffusers itself, by name and nothing else, and draw."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    pipeline = StableDiffusionPipeline.from_pretrained(work.model).to(work.device, torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline(
        SHEET[0],
        num_inference_steps=work.options.sampling_steps,
        guidance_scale=work.options.guidance_scale,
        generator=torch.Generator().manual_seed(work.options.seed),
        output_type="pt",
    ).images
    sheets.write(work.sheets / "pipeline.png", sheets.to_bytes(picture * 2 - 1), 1)
    say("export: diffusers loads the folder and draws; see sheets/pipeline.png")
