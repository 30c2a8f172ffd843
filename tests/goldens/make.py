"""Goldens of the diffusion tests: what diffusers computes, in f32 on the CPU.

    pip install -r requirements.txt && python make.py [PART …]

`tokenizer/` is the vocabulary of every tiny model. Writes beside this file:

sd1/, sd2/           two tiny pipelines with seeded random weights in the layouts of SD 1 and SD 2. Between them
                     they have every variation that a model folder may show: names with and without `text_model.`,
                     `tokenizer.json` or `vocab.json` with `merges.txt`, f16 and bf16 files, the `.fp16` file name,
                     the VAE's old attention names, convolutions or matrices around the transformers
sdxl/, sdxl_refiner/, inpaint/, lcm/
                     tiny pipelines of the families that differ in their networks; see models.py
noise.safetensors    torch.randn of many sizes and seeds
networks.safetensors inputs and outputs of each network; see networks.py
trajectories.*       short walks of every scheduler, see schedulers.py
tokens.json          token ids of awkward prompts
single_file.json.gz  where every tensor of diffusers lies in a single-file checkpoint, for every kind of model
clip_tokens.json.gz  token ids of awkward prompts with CLIP's vocabulary
images*, inpaint.json  pictures read, resized, blurred and laid back; see images.py
embeddings*          textual inversion; see embeddings.py
lora*                LoRA files, outputs with them, names of layers; see lora.py
prompts.json         brackets, chunks and weights; see prompts.py
pictures/, *.json    whole pictures from the pipelines, those of the built-in model included
tiled.safetensors    a picture decoded in tiles; see tiled.py
preview_decoder*     what preview decoders make of latents; see preview_decoder.py
families/, *.json    whole pictures of the other families and ways to draw; see families.py

All tensors of pictures and latents are channels last.
"""

import json
import shutil
import sys

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTokenizer

import embeddings
import families
import images
import lora
import networks
import preview_decoder
import prompts
import single_file
import tiled
from models import BUILTIN, HERE, MODELS, TOKENIZER
from schedulers import SCHEDULERS, trajectories


@torch.no_grad()
def noise():
    tensors = {}
    for seed in (0, 42, 2**32 + 42, 2**63 + 5):
        for size in [*range(1, 34), 100, 256, 1000]:
            if seed == 0 or size in (5, 33, 256):
                tensors[f"{seed}/{size}"] = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    # One generator, several calls: what a call leaves is where the next one starts.
    generator = torch.Generator().manual_seed(7)
    for call, size in enumerate((256, 7, 17, 4, 16, 1, 1000)):
        tensors[f"stream/{call}"] = torch.randn(size, generator=generator)
    save_file(tensors, HERE / "noise.safetensors")


PROMPTS = [
    "",
    "a red house",
    "  A Red   HOUSE,in\tthe  hills!!  ",
    "it's 42 degrees; they're here…",
    "naïve café, Ελλάδα, 北京 🎈",
    "<|startoftext|>a<|endoftext|> sun",
    "a yellow sailboat on the sea, " * 20,
]


def tokens(pipelines):
    def encode(tokenizer, text):
        return tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids

    listed = {name: [[text, encode(p.tokenizer, text)] for text in PROMPTS] for name, p in pipelines.items()}
    (HERE / "tokens.json").write_text(json.dumps(listed, ensure_ascii=False) + "\n")


@torch.no_grad()
def pictures(pipelines):
    folder = HERE / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    listed = []

    def draw(model, prompt, scheduler, steps, scale, seed, width, height, batch=1, negative="", sigmas="default"):
        pipeline = pipelines[model]
        own = pipeline.scheduler
        extra = {"use_karras_sigmas": True} if sigmas == "karras" else {}
        cls, chosen = SCHEDULERS[scheduler]
        pipeline.scheduler = cls.from_config(own.config, **chosen, **extra)
        images = pipeline(
            prompt,
            negative_prompt=negative,
            num_inference_steps=steps,
            guidance_scale=scale,
            width=width,
            height=height,
            num_images_per_prompt=batch,
            generator=[torch.Generator().manual_seed(seed + item) for item in range(batch)],
            output_type="np",
        ).images
        pipeline.scheduler = own
        name = f"{len(listed):02}_{model}.png"
        pixels = (images * 255).round().astype(np.uint8)
        print(name, "deviation", pixels.std().round(1))
        Image.fromarray(np.concatenate(list(pixels), 0)).save(folder / name, optimize=True)
        listed.append(
            {
                "file": name,
                "model": model,
                "prompt": prompt,
                "negative_prompt": negative,
                "scheduler": scheduler,
                "sigmas": sigmas,
                "steps": steps,
                "guidance_scale": scale,
                "seed": seed,
                "width": width,
                "height": height,
                "batch_size": batch,
            }
        )

    draw("sd1", "a red house", "ddim", 5, 5.0, 3, 64, 64)
    draw("sd1", "a blue sailboat", "euler_a", 5, 5.0, 2**32 + 4, 72, 56, batch=2, negative="clouds")
    draw("sd1", "a green tree", "euler", 5, 1.0, 5, 64, 64)
    draw("sd2", "a red house", "dpmpp_2m", 6, 4.0, 6, 64, 72, sigmas="karras")
    balloon = "a red hot air balloon over mountains at sunset, a sun in the sky, clouds"
    draw("builtin", balloon, "euler", 8, 4.0, 1, 256, 256)
    draw("builtin", "a blue sailboat on the sea at noon", "dpmpp_2m", 8, 4.0, 2, 256, 256, negative="clouds")
    (HERE / "pictures.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in listed) + "\n]\n")


# Parts that can be made alone, from what the others have written.
PARTS = {
    "tokens": lambda: tokens(with_builtin()),
    "pictures": lambda: pictures(with_builtin()),
    "trajectories": lambda: trajectories(MODELS["sd1"]()),
    "images": images.images,
    "single_file": lambda: single_file.main(PROMPTS),
    "networks": lambda: networks.networks({name: model() for name, model in MODELS.items()}),
    "tiled": lambda: tiled.tiled(MODELS["sd1"]().vae),
    "embeddings": embeddings.embeddings,
    "lora": lora.lora,
    "preview_decoder": preview_decoder.preview_decoder,
    "prompts": lambda: prompts.prompts(CLIPTokenizer.from_pretrained(TOKENIZER)),
    # Last, because it changes a class of transformers for diffusers' sake.
    "families": lambda: families.families({name: model() for name, model in MODELS.items()}),
}


def with_builtin():
    pipelines = {"sd1": MODELS["sd1"](), "sd2": MODELS["sd2"]()}
    pipelines["builtin"] = StableDiffusionPipeline.from_pretrained(BUILTIN, torch_dtype=torch.float32)
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def main():
    torch.set_grad_enabled(False)
    if not sys.argv[1:]:
        noise()
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
