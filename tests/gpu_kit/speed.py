"""Times of the worker, and of diffusers on the same weights where PyTorch and diffusers are installed.

The weights are those that diffusers gives a new model of the configuration of Stable Diffusion 1.5 after
`torch.manual_seed(0)`: as much work as trained ones, finite, and the same for both sides.
"""

import json
import time
from statistics import median

from worker import Worker

STEPS = 20
REPEATS = 5
JOB = {"prompt": "a red house", "width": 512, "height": 512, "seed": 11, "scheduler": "euler", "steps": STEPS}
DTYPES = ("f16", "bf16", "f32")


def builtin(binary, device):
    """Milliseconds of the built-in model's parts, as medians."""
    table = []
    for dtype in DTYPES if device != "cpu" else ("f32",):
        with Worker(binary, "--device", device, "--dtype", dtype) as worker:
            row = timed(worker, {"prompt": "a red hot air balloon over mountains", "seed": 7, "steps": STEPS})
            table.append({"dtype": dtype, "ready_seconds": round(worker.ready_seconds, 2), **row})
    return table


def timed(worker, job):
    worker.draw(job)
    runs = [worker.draw(job)[0] for _ in range(REPEATS)]

    def of(part):
        return round(median(run[part] for run in runs), 2)

    steps = [run["denoise_ms"] / job["steps"] for run in runs]
    return {
        "step_ms": round(median(steps), 2),
        "step_ms_range": [round(min(steps), 2), round(max(steps), 2)],
        "encode_ms": of("encode_ms"),
        "decode_ms": of("decode_ms"),
    }


def stable_diffusion(binary, device, goldens, configs, scratch):
    """Stable Diffusion 1.5 with seeded weights at 512 × 512 px: the worker beside diffusers."""
    import numpy as np
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from drawing import distance

    def config(name, file="config.json"):
        return json.loads((configs / name / file).read_text())

    torch.manual_seed(0)
    with torch.device("cuda"):
        unet, vae = UNet2DConditionModel.from_config(config("unet")), AutoencoderKL.from_config(config("vae"))
        text = CLIPTextModel(CLIPTextConfig(**config("text_encoder")))
    pipe = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(goldens / "tokenizer"),
        scheduler=EulerDiscreteScheduler.from_config(config("scheduler", "scheduler_config.json")),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16)
    pipe.set_progress_bar_config(disable=True)
    folder = scratch / "sd15"
    pipe.save_pretrained(folder)
    # Both sides begin with what f16 left of the weights.
    picture, theirs = None, {}
    for dtype, kind in (("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16)):
        theirs[dtype] = eager(torch, pipe.to(kind), kind)
        if dtype == "f32":
            generator = torch.Generator("cpu").manual_seed(JOB["seed"])
            sizes = {"width": 512, "height": 512, "num_inference_steps": 8, "guidance_scale": 5.0}
            picture = np.asarray(pipe(JOB["prompt"], generator=generator, **sizes).images[0]).astype(np.int16)
    del pipe, unet, vae, text
    torch.cuda.empty_cache()

    table = []
    for dtype in DTYPES:
        row = {"dtype": dtype, "diffusers_eager": theirs[dtype]}
        try:
            with Worker(binary, "--device", device, "--dtype", dtype, f"--model=photo={folder}") as worker:
                row["ready_seconds"] = round(worker.ready_seconds, 2)
                _, found = worker.draw({**JOB, "steps": 8, "guidance_scale": 5.0})
                row["picture"] = distance(found, picture)
                row["batch_1"] = timed(worker, {**JOB, "guidance_scale": 1.0})
                row["batch_2"] = timed(worker, {**JOB, "guidance_scale": 7.5})
                free, total = torch.cuda.mem_get_info()
                row["memory_gb"] = round((total - free) / 1e9, 2)
        except RuntimeError as error:
            row["error"] = str(error)
        table.append(row)
    return table


def eager(torch, pipe, kind):
    """Milliseconds of diffusers' networks, channels last, medians of single calls."""

    def milliseconds(call):
        for _ in range(3):
            call()
        times = []
        for _ in range(3 * REPEATS):
            torch.cuda.synchronize()
            began = time.perf_counter()
            call()
            torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - began))
        return round(median(times), 2)

    row = {}
    with torch.inference_mode():
        pipe.unet.to(memory_format=torch.channels_last)
        for batch in (1, 2):
            sample = torch.randn(batch, 4, 64, 64, device="cuda", dtype=kind)
            text = torch.randn(batch, 77, 768, device="cuda", dtype=kind)
            row[f"unet_batch_{batch}_ms"] = milliseconds(lambda: pipe.unet(sample, 500, text))
        latents = torch.randn(1, 4, 64, 64, device="cuda", dtype=kind)
        row["vae_decode_ms"] = milliseconds(lambda: pipe.vae.decode(latents))
    return row
