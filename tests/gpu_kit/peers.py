"""diffusers beside the worker, on weights that both read.

The weights are those that diffusers gives a new model of a known configuration after `torch.manual_seed(0)`: as much
work as trained ones, finite, and the same for both sides. They are saved in f16, so that both begin with the same.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

CALLS = 15
KINDS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class Peer:
    """A pipeline with seeded weights, which lie in `folder`."""

    def __init__(self, pipe, folder):
        self.pipe = pipe.to(torch.float16)
        self.pipe.set_progress_bar_config(disable=True)
        self.folder = folder
        self.pipe.save_pretrained(folder)

    def picture(self, job):
        """What it draws of `job` in eight guided steps: in f32, after the numbers that f16 left of the weights."""
        generator = torch.Generator("cpu").manual_seed(job["seed"])
        sizes = {"width": job["width"], "height": job["height"], "num_inference_steps": 8, "guidance_scale": 5.0}
        image = self.pipe.to(torch.float32)(job["prompt"], generator=generator, **sizes).images[0]
        return np.asarray(image).astype(np.int16)

    def leave(self):
        """Frees the GPU for the worker."""
        del self.pipe
        torch.cuda.empty_cache()

    def times(self, dtype, is_compiled):
        """Milliseconds of the networks, channels last, medians of single calls."""
        kind = KINDS[dtype]
        self.pipe.to(kind).unet.to(memory_format=torch.channels_last)
        self.pipe.vae.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            row = {name: milliseconds(lambda: self.pipe.unet(**self.inputs(batch, kind))) for name, batch in self.unets}
            for side in sorted({self.side, 1024}):
                latents = torch.randn(1, 4, side // 8, side // 8, device="cuda", dtype=kind)
                row[f"decode_{side}"] = milliseconds(lambda: self.pipe.vae.decode(latents))
            if is_compiled:
                for name, batch in self.unets[:2]:
                    torch.compiler.reset()
                    unet = torch.compile(self.pipe.unet, mode="reduce-overhead")
                    inputs = self.inputs(batch, kind)
                    row[f"{name}_compiled"] = milliseconds(lambda: unet(**inputs))
        return row


class StableDiffusion(Peer):
    """Stable Diffusion 1.5."""

    side, steps, dtypes = 512, 20, ("bf16", "f16")
    unets = (("batch_1", 1), ("batch_2", 2), ("batch_8", 8))
    batches = {
        "batch_1": {"guidance_scale": 1.0},
        "batch_2": {"guidance_scale": 7.5},
        "batch_8": {"guidance_scale": 1.0, "batch_size": 8},
    }

    def __init__(self, configs, goldens, folder):
        read = reader(configs / "sd1")
        unet, vae, text = seeded(
            lambda: UNet2DConditionModel.from_config(read("unet")),
            lambda: AutoencoderKL.from_config(read("vae")),
            lambda: CLIPTextModel(CLIPTextConfig(**read("text_encoder"))),
        )
        pipe = StableDiffusionPipeline(
            unet=unet,
            vae=vae,
            text_encoder=text,
            tokenizer=CLIPTokenizer.from_pretrained(goldens / "tokenizer"),
            scheduler=EulerDiscreteScheduler.from_config(read("scheduler", "scheduler_config.json")),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        super().__init__(pipe, folder)

    def inputs(self, batch, kind):
        sample = torch.randn(batch, 4, 64, 64, device="cuda", dtype=kind).to(memory_format=torch.channels_last)
        text = torch.randn(batch, 77, 768, device="cuda", dtype=kind)
        return {"sample": sample, "timestep": torch.tensor(500.0, device="cuda"), "encoder_hidden_states": text}


class StableDiffusionXL(Peer):
    """Stable Diffusion XL 1.0."""

    side, steps, dtypes = 1024, 30, ("f16",)
    unets = (("batch_2", 2),)
    batches = {"batch_2": {"guidance_scale": 5.0}}

    def __init__(self, configs, goldens, folder):
        read = reader(configs / "sdxl")
        unet, vae, text, text_2 = seeded(
            lambda: UNet2DConditionModel.from_config(read("unet")),
            lambda: AutoencoderKL.from_config(read("vae")),
            lambda: CLIPTextModel(CLIPTextConfig(**read("text_encoder"))),
            lambda: CLIPTextModelWithProjection(CLIPTextConfig(**read("text_encoder_2"))),
        )
        tokenizer = CLIPTokenizer.from_pretrained(goldens / "tokenizer")
        pipe = StableDiffusionXLPipeline(
            unet=unet,
            vae=vae,
            text_encoder=text,
            text_encoder_2=text_2,
            tokenizer=tokenizer,
            tokenizer_2=CLIPTokenizer.from_pretrained(goldens / "tokenizer", pad_token="!"),
            scheduler=EulerDiscreteScheduler.from_config(read("scheduler", "scheduler_config.json")),
            add_watermarker=False,
        )
        super().__init__(pipe, folder)

    def inputs(self, batch, kind):
        sample = torch.randn(batch, 4, 128, 128, device="cuda", dtype=kind).to(memory_format=torch.channels_last)
        added = {
            "text_embeds": torch.randn(batch, 1280, device="cuda", dtype=kind),
            "time_ids": torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]] * batch, device="cuda", dtype=kind),
        }
        text = torch.randn(batch, 77, 2048, device="cuda", dtype=kind)
        timestep = torch.tensor(500.0, device="cuda")
        return {"sample": sample, "timestep": timestep, "encoder_hidden_states": text, "added_cond_kwargs": added}


def reader(configs: Path):
    return lambda name, file="config.json": json.loads((configs / name / file).read_text())


def seeded(*models):
    torch.manual_seed(0)
    with torch.device("cuda"):
        return [model() for model in models]


def milliseconds(call):
    for _ in range(3):
        call()
    times = []
    for _ in range(CALLS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times), 2)
