"""Goldens of the diffusion tests: what diffusers computes, in f32 on the CPU.

    pip install -r requirements.txt && python make.py

Writes beside this file:

sd1/, sd2/           two tiny pipelines with seeded random weights in the layouts of SD 1 and SD 2. Between them
                     they have every variation that a model folder may show: names with and without `text_model.`,
                     `tokenizer.json` or `vocab.json` with `merges.txt`, f16 and bf16 files, the `.fp16` file name,
                     the VAE's old attention names, convolutions or matrices around the transformers
noise.safetensors    torch.randn of many sizes and seeds
networks.safetensors inputs and outputs of each network
trajectories.*       every latent and every predicted clean latent of short walks, per scheduler and setting
tokens.json          token ids of awkward prompts
pictures/, *.json    whole pictures from the pipelines, those of the built-in model included

All tensors of pictures and latents are channels last.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).parent
BUILTIN = HERE.parent.parent / "worker" / "builtin" / "model"
SCHEDULERS = {
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "ddim": DDIMScheduler,
}
TRAINED = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def seeded(module, seed, dtype):
    """Weights that let every part of a network show in its output, rounded to what the file will hold."""
    generator = torch.Generator().manual_seed(seed)

    def normal(p):
        return torch.randn(p.shape, generator=generator)

    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("bias"):
                value = 0.1 * normal(p)
            elif p.ndim == 1:
                value = 1 + 0.2 * normal(p)
            elif "embedding.weight" in name:
                value = 0.5 * normal(p)
            else:
                value = normal(p) / p[0].numel() ** 0.5
            p.copy_(value.to(dtype).float())
    return module.eval()


def write_model(name, text, unet, vae, scheduler, dtype):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    text, unet, vae = (seeded(module, seed, dtype) for seed, module in enumerate((text, unet, vae)))
    tokenizer = CLIPTokenizer.from_pretrained(BUILTIN / "tokenizer")
    pipeline = StableDiffusionPipeline(vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)
    for part, module in (("text_encoder", text), ("unet", unet), ("vae", vae)):
        module.to(dtype).save_pretrained(folder / part)
        module.float()
    scheduler.save_pretrained(folder / "scheduler")
    # Read back, so that diffusers takes every key for chosen, as it does for whoever reads the folder.
    pipeline.scheduler = type(scheduler).from_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.0"}
    (folder / "model_index.json").write_text(json.dumps(index) + "\n")
    (folder / "tokenizer").mkdir()
    return folder, pipeline


def copy_tokenizer(folder, *names):
    for name in names:
        shutil.copy(BUILTIN / "tokenizer" / name, folder / "tokenizer" / name)


def rename(path, to, change):
    """Rewrites a weights file under other tensor names, without what only encodes pictures."""
    unread = ("encoder.down", "encoder.mid", "encoder.conv", "quant_conv.")
    tensors = {change(name): tensor for name, tensor in load_file(path).items() if not name.startswith(unread)}
    path.unlink()
    save_file(tensors, to)


def text_encoder(**settings):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=644,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            projection_dim=32,
            **settings,
        )
    )


def vae(**settings):
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        sample_size=64,
        **settings,
    )


def sd1():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    scheduler = DDIMScheduler.from_config(TRAINED)
    folder, pipeline = write_model("sd1", text_encoder(hidden_act="quick_gelu"), unet, vae(), scheduler, torch.float16)
    copy_tokenizer(folder, "tokenizer.json", "tokenizer_config.json")
    file = folder / "text_encoder" / "model.safetensors"
    rename(file, file, lambda name: "text_model." + name.removeprefix("text_model."))
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    rename(weights, weights, lambda name: name)
    return pipeline


def sd2():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 12),
        layers_per_block=(1, 2, 1),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4, 3),
        transformer_layers_per_block=(1, 2, 1),
        use_linear_projection=True,
        norm_num_groups=4,
    )
    scheduler = DPMSolverMultistepScheduler.from_config(TRAINED, prediction_type="v_prediction", use_karras_sigmas=True)
    text = text_encoder(hidden_act="gelu")
    folder, pipeline = write_model("sd2", text, unet, vae(layers_per_block=2), scheduler, torch.bfloat16)
    copy_tokenizer(folder, "vocab.json", "merges.txt")
    pipeline.tokenizer.pad_token = "!"
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "!"}
    (folder / "tokenizer" / "special_tokens_map.json").write_text(json.dumps(special) + "\n")
    file = folder / "text_encoder" / "model.safetensors"
    rename(file, file, lambda name: name.removeprefix("text_model."))
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def older(name):
        for new, legacy in old.items():
            name = name.replace(new, legacy)
        return name

    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    rename(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"), older)
    return pipeline


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1).contiguous()


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


@torch.no_grad()
def networks(pipelines):
    tensors = {}
    generator = torch.Generator().manual_seed(11)
    for name, pipeline in pipelines.items():
        ids = pipeline.tokenizer(
            ["a red house in green hills", ""], padding="max_length", max_length=77, return_tensors="pt"
        ).input_ids
        text = pipeline.text_encoder(ids).last_hidden_state
        tensors[f"{name}/text/ids"], tensors[f"{name}/text/out"] = ids.to(torch.int64), text
        # The second size is odd on every level, so that upsampling has to follow the skips.
        for label, size in (("even", (8, 8)), ("odd", (9, 7))):
            latents = torch.randn(2, 4, *size, generator=generator)
            out = pipeline.unet(latents, 321.5, text).sample
            tensors[f"{name}/unet/{label}/in"], tensors[f"{name}/unet/{label}/out"] = last(latents), last(out)
        latents = torch.randn(1, 4, 9, 7, generator=generator)
        out = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
        tensors[f"{name}/vae/in"], tensors[f"{name}/vae/out"] = last(latents), last(out)
        for key in ("text/out", "unet/even/out", "unet/odd/out", "vae/out"):
            value = tensors[f"{name}/{key}"]
            print(f"{name}/{key}: mean {value.mean():.3f}, deviation {value.std():.3f}")
    save_file(tensors, HERE / "networks.safetensors")


def cases():
    """Every scheduler with every prediction, sigma spacing and timestep spacing, then each rarer setting once."""
    for scheduler in SCHEDULERS:
        for prediction in ("epsilon", "v_prediction"):
            for sigmas in ("default", "karras"):
                if sigmas == "karras" and scheduler in ("ddim", "euler_a"):
                    continue
                for spacing in ("leading", "linspace", "trailing"):
                    yield scheduler, sigmas, 6, 0.0, {"prediction_type": prediction, "timestep_spacing": spacing}
        yield scheduler, "default", 5, 0.0, {}
        yield scheduler, "default", 1, 0.0, {}
        yield scheduler, "default", 5, 0.0, {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
        zero_snr = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
        yield scheduler, "default", 5, 0.0, zero_snr
    yield "euler", "default", 5, 0.0, {"final_sigmas_type": "sigma_min"}
    yield "euler", "default", 5, 0.0, {"prediction_type": "sample"}
    yield "euler", "karras", 5, 0.0, {"sigma_min": 0.1, "sigma_max": 10.0}
    yield "euler", "default", 5, 0.0, {"use_karras_sigmas": True}
    yield "ddim", "default", 5, 0.7, {}
    yield "ddim", "default", 5, 0.0, {"clip_sample": True, "set_alpha_to_one": True, "steps_offset": 0}
    yield "ddim", "default", 5, 0.0, {"prediction_type": "sample"}
    yield "dpmpp_2m", "default", 16, 0.0, {"final_sigmas_type": "sigma_min"}
    yield "dpmpp_2m", "default", 5, 0.0, {"solver_type": "heun", "final_sigmas_type": "sigma_min"}
    yield "dpmpp_2m", "default", 5, 0.0, {"prediction_type": "sample"}
    yield "dpmpp_2m", "default", 5, 0.0, {"lambda_min_clipped": -2.0, "euler_at_final": True}


@torch.no_grad()
def trajectories(pipeline):
    """Walks of the SD 1 network over 4 × 4 latents, without guidance."""
    ids = pipeline.tokenizer("a red house", padding="max_length", max_length=77, return_tensors="pt").input_ids
    context = pipeline.text_encoder(ids).last_hidden_state
    tensors, listed = {"context": context}, []
    for number, (name, sigmas, steps, eta, settings) in enumerate(cases()):
        config = {**TRAINED, **settings}
        extra = {"use_karras_sigmas": True} if sigmas == "karras" else {}
        scheduler = SCHEDULERS[name].from_config(config, **extra)
        scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(number)
        sample = torch.randn(1, 4, 4, 4, generator=generator) * scheduler.init_noise_sigma
        latents, denoised = [sample], []
        for t in scheduler.timesteps:
            output = pipeline.unet(scheduler.scale_model_input(sample, t), t, context).sample
            options = {"eta": eta} if name == "ddim" else {}
            if name != "dpmpp_2m":
                options["generator"] = generator
            stepped = scheduler.step(output, t, sample, **options)
            sample = stepped.prev_sample
            latents.append(sample)
            denoised.append(scheduler.model_outputs[-1] if name == "dpmpp_2m" else stepped.pred_original_sample)
        assert all(torch.isfinite(x).all() for x in latents), (name, settings)
        tensors[f"{number}/latents"] = last(torch.cat(latents))
        tensors[f"{number}/denoised"] = last(torch.cat(denoised))
        tensors[f"{number}/timesteps"] = scheduler.timesteps.float()
        case = {"scheduler": name, "sigmas": sigmas, "steps": steps, "eta": eta, "seed": number, "config": config}
        listed.append(case)
    save_file(tensors, HERE / "trajectories.safetensors")
    (HERE / "trajectories.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in listed) + "\n]\n")
    print(len(listed), "trajectories")


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
        pipeline.scheduler = SCHEDULERS[scheduler].from_config(own.config, **extra)
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


def main():
    torch.set_grad_enabled(False)
    pipelines = {"sd1": sd1(), "sd2": sd2()}
    pipelines["builtin"] = StableDiffusionPipeline.from_pretrained(BUILTIN, torch_dtype=torch.float32)
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    noise()
    networks({name: pipelines[name] for name in ("sd1", "sd2")})
    trajectories(pipelines["sd1"])
    tokens(pipelines)
    pictures(pipelines)


if __name__ == "__main__":
    main()
