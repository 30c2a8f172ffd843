"""diffusers, whole: draws a picture after the other, each with a prompt and a seed of its own."""

import numpy as np
import torch
from diffusers import DiffusionPipeline, logging

logging.set_verbosity_error()
logging.disable_progress_bar()


class FirstStep(Exception):
    """What was waited for has happened."""


def prepare(spec):
    """A function without arguments that draws the next picture, `[1, height, width, 3]`, 0 to 255."""
    torch.set_num_threads(spec["threads"])
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[spec["dtype"]]
    pipeline = DiffusionPipeline.from_pretrained(spec["model"], torch_dtype=dtype, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    if "channels_last" in spec["engine"]:
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    if "compile" in spec["engine"]:
        from torch._inductor import config

        config.freezing = True
        pipeline.unet = torch.compile(pipeline.unet, dynamic=False)
        pipeline.vae.decoder = torch.compile(pipeline.vae.decoder, dynamic=False)
    numbers = iter(range(1 << 30))

    def stop(*_):
        raise FirstStep

    @torch.no_grad()
    def draw():
        number = next(numbers)
        arguments = {
            "prompt": spec["prompt"].replace("#", str(number)),
            "width": spec["width"],
            "height": spec["height"],
            "num_inference_steps": spec["steps"],
            "guidance_scale": spec["guidance_scale"],
            "generator": torch.Generator().manual_seed(number),
            "output_type": "np",
        }
        if spec.get("first_step"):
            try:
                pipeline(**arguments, callback_on_step_end=stop)
            except FirstStep:
                return torch.zeros(1)
        return torch.from_numpy(np.ascontiguousarray(pipeline(**arguments).images * 255)).float()

    return draw

