"""Goldens of whole pictures of every family and way to draw: `families.json` lists the calls, `families/` holds
what the pipelines drew and what they drew from.

Of a case in the list: `pipeline` is diffusers' class, `model` the folder, `scheduler` a name of SCHEDULERS,
`arguments` what the pipeline was called with, `seeds` one generator for each picture, `image` and `mask` files in
`families/`. A case with a `refiner` drew to its `denoising_end` with `model`, and from there with `refiner`, both
with the same arguments. One with a `scheduler_config` drew as if the model's own configuration said that. Pictures of a
batch stand below one another.
"""

import json
import shutil

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image
from transformers import CLIPTextModel

from models import HERE

FOLDER = HERE / "families"
SCHEDULERS = {
    "euler": EulerDiscreteScheduler,
    "euler_a": EulerAncestralDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "ddim": DDIMScheduler,
    "lcm": LCMScheduler,
}
# As SD-Turbo and SDXL-Turbo are published: few steps, the first of them the last of training.
TURBO = {"prediction_type": "epsilon", "timestep_spacing": "trailing", "use_karras_sigmas": False}
SD_TURBO = {"_class_name": "EulerDiscreteScheduler", **TURBO}
SDXL_TURBO = {"_class_name": "EulerAncestralDiscreteScheduler", **TURBO}
# As Lin et al. 2024 train and walk.
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "use_karras_sigmas": False}


def inputs():
    """A picture of waves and a mask of a disc and a corner, in two sizes."""
    for width, height in ((64, 64), (96, 64)):
        y, x = np.mgrid[:height, :width] / 64
        waves = [np.sin(9 * x + 2 * y), np.cos(5 * x - 7 * y), np.sin(4 * x * y + 1)]
        picture = (127.5 + 100 * np.stack(waves, -1)).round().astype(np.uint8)
        mask = ((x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.08) | ((x < 0.3) & (y > 0.7))
        Image.fromarray(picture).save(FOLDER / f"picture_{width}x{height}.png", optimize=True)
        Image.fromarray((mask * 255).astype(np.uint8)).save(FOLDER / f"mask_{width}x{height}.png", optimize=True)


def built(kind, source):
    """The pipeline `kind` over the networks of another."""
    if isinstance(source, kind):
        return source
    settings = {"requires_safety_checker": False}
    if "text_encoder_2" in source.components:
        settings = {"force_zeros_for_empty_prompt": source.config.force_zeros_for_empty_prompt}
    pipeline = kind(**source.components, **settings)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline, scheduler, seeds, files, arguments, config):
    own = pipeline.scheduler
    pipeline.scheduler = SCHEDULERS[scheduler].from_config({**own.config, **config})
    opened = {key: Image.open(FOLDER / file) for key, file in files.items() if file}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    images = pipeline(
        **{"output_type": "np", **arguments},
        **({"image": opened["image"].convert("RGB")} if "image" in opened else {}),
        **({"mask_image": opened["mask"]} if "mask" in opened else {}),
        num_images_per_prompt=len(seeds),
        generator=generators,
    ).images
    pipeline.scheduler = own
    return images


def cases():
    house = {"prompt": "a red house", "num_inference_steps": 5, "guidance_scale": 5.0}
    square, wide = {"width": 64, "height": 64}, {"width": 96, "height": 64}
    from_square = {"image": "picture_64x64.png"}
    masked, masked_wide = ({"image": f"picture_{size}.png", "mask": f"mask_{size}.png"} for size in ("64x64", "96x64"))
    sd, sdxl = StableDiffusionPipeline, StableDiffusionXLPipeline
    again, again_xl = StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline
    fill, fill_xl = StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
    sizes = {"original_size": (96, 128), "crops_coords_top_left": (8, 16), "target_size": (80, 112)}
    weak, strong = {"strength": 0.6, "num_inference_steps": 8}, {"strength": 1.0, "num_inference_steps": 6}

    yield sd, "sd1", "euler", [31], {}, {**house, **square, "clip_skip": 1, "negative_prompt": "clouds"}
    yield sd, "sd2", "euler", [32], {}, {**house, **wide, "clip_skip": 1, "guidance_rescale": 0.7}
    # Without a negative prompt SDXL takes zeros, with an empty one it encodes it.
    yield sdxl, "sdxl", "euler", [33], {}, {**house, **square}
    yield sdxl, "sdxl", "dpmpp_2m", [34], {}, {**house, **wide, **sizes, "negative_prompt": ""}
    yield sdxl, "sdxl", "euler", [35], {}, {**house, **square, "clip_skip": 1, "negative_prompt": "clouds"}
    yield sdxl, "sdxl", "dpmpp_2m", [36], {}, {**house, **square, "guidance_rescale": 0.7}
    yield sdxl, "sdxl", "euler", [37], {}, {**house, **square, "guidance_scale": 1.0}
    split = {"num_inference_steps": 10, "denoising_end": 0.8, "negative_prompt": "clouds"}
    for scheduler, seeds in (("euler", [38]), ("dpmpp_2m", [39, 40])):
        yield sdxl, "sdxl", scheduler, seeds, {}, {**house, **square, **split}, {"refiner": "sdxl_refiner"}
    yield again_xl, "sdxl_refiner", "euler", [41], from_square, {**house, **weak, "aesthetic_score": 5.5}
    yield again, "sd1", "euler", [42, 7], from_square, {**house, **weak}
    yield again, "sd1", "dpmpp_2m", [43], {"image": "picture_96x64.png"}, {**house, **weak}
    yield again, "sd1", "ddim", [44], from_square, {**house, **strong}
    yield again_xl, "sdxl", "euler", [45], from_square, {**house, **weak, "negative_prompt": "clouds"}
    yield again_xl, "sdxl", "dpmpp_2m", [46], {"image": "picture_96x64.png"}, {**house, **weak}
    for number, (kind, model) in enumerate(((fill, "sd1"), (fill, "inpaint"), (fill_xl, "sdxl"))):
        yield kind, model, "euler", [50 + number], masked, {**house, **strong, **square}
        partly = {**house, **weak, "strength": 0.7, "negative_prompt": "clouds"}
        if number == 0:
            yield kind, model, "dpmpp_2m", [60, 8], masked, {**partly, **square}
        else:
            yield kind, model, "dpmpp_2m", [60 + number], masked_wide, {**partly, **wide}
    few = {"prompt": "a blue sailboat", "num_inference_steps": 4}
    yield LatentConsistencyModelPipeline, "lcm", "lcm", [70], {}, {**few, **square, "guidance_scale": 8.5}
    yield LatentConsistencyModelPipeline, "lcm", "lcm", [71, 9], {}, {**few, **square, "guidance_scale": 2.0}

    for steps, seeds, scale in ((1, [80], 0.0), (4, [81, 82], 1.0)):
        turbo = {"prompt": "a blue sailboat", "num_inference_steps": steps, "guidance_scale": scale}
        yield sd, "sd2", "euler", seeds, {}, {**turbo, **square}, {"scheduler_config": SD_TURBO}
        yield sdxl, "sdxl", "euler_a", seeds, {}, {**turbo, **square}, {"scheduler_config": SDXL_TURBO}
    half = {"prompt": "a blue sailboat", "num_inference_steps": 2, "guidance_scale": 0.0, "strength": 0.5}
    yield again_xl, "sdxl", "euler_a", [83], from_square, half, {"scheduler_config": SDXL_TURBO}
    for number, scheduler in enumerate(("ddim", "euler", "dpmpp_2m")):
        arguments = {**house, **square, "guidance_rescale": 0.7, "negative_prompt": "clouds"}
        yield sd, "sd2", scheduler, [90 + number], {}, arguments, {"scheduler_config": ZERO_SNR}
    yield again, "sd2", "ddim", [93], from_square, {**house, **weak}, {"scheduler_config": ZERO_SNR}


@torch.no_grad()
def families(pipelines):
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    # Transformers 5 has no `text_model` inside this class, and diffusers 0.42 looks for it under `clip_skip`.
    CLIPTextModel.text_model = property(lambda self: self)
    inputs()
    listed = []
    for kind, model, scheduler, seeds, files, arguments, *more in cases():
        more = more[0] if more else {}
        first, config = built(kind, pipelines[model]), more.get("scheduler_config", {})
        if "refiner" in more:
            latents = draw(first, scheduler, seeds, files, {**arguments, "output_type": "latent"}, config)
            second = {key: value for key, value in arguments.items() if key not in ("width", "height", "denoising_end")}
            second |= {"image": latents, "denoising_start": arguments["denoising_end"]}
            images = draw(pipelines[more["refiner"]], scheduler, seeds, {}, second, config)
        else:
            images = draw(first, scheduler, seeds, files, arguments, config)
        pixels = (images * 255).round().astype(np.uint8)
        name = f"{len(listed):02}_{model}.png"
        print(name, kind.__name__, scheduler, pixels.shape, "deviation", pixels.std().round(1))
        Image.fromarray(np.concatenate(list(pixels), 0)).save(FOLDER / name, optimize=True)
        case = {"file": name, "pipeline": kind.__name__, "model": model, "scheduler": scheduler, "seeds": seeds}
        case |= files | more | {"arguments": arguments}
        listed.append(case)
    (HERE / "families.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in listed) + "\n]\n")
