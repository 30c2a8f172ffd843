"""Writes a Stable Diffusion 1.5 of seeded random weights: `weights.py FOLDER CONFIGS VOCABULARY`.

FOLDER/sd15 gets the UNet and the autoencoder in f32, FOLDER/sd15-f16 the whole pipeline in f16, both in the layout of
diffusers; what is there already stays. CONFIGS are the configurations of the networks, VOCABULARY is CLIP's as OpenAI
published it.
"""

import gzip
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

# What diffusers calls its parts; the scheduler is one that stable-diffusion.cpp has as well.
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
NETWORKS = {
    "unet": (UNet2DConditionModel.from_config, "diffusion_pytorch_model.safetensors"),
    "vae": (AutoencoderKL.from_config, "diffusion_pytorch_model.safetensors"),
    "text_encoder": (lambda config: CLIPTextModel(CLIPTextConfig(**config)), "model.safetensors"),
}


def seeded(model):
    """Weights under which numbers keep about their size on the way through."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        values = torch.empty(tensor.shape).normal_(generator=generator)
        if tensor.dim() > 1:
            state[name] = values / (tensor[0].numel() ** 0.5)
        else:
            # Scales of normalisations are about one, all other vectors small.
            state[name] = 0.02 * values + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return state


def write(state, path):
    save_file(state, f"{path}.part", metadata={"format": "pt"})
    os.replace(f"{path}.part", path)


def network(name, configs, full, half):
    make, file = NETWORKS[name]
    config = json.loads((configs / name / "config.json").read_text())
    for folder in (full, half):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config, indent=2))
    whole, halved = full / name / file, half / name / file
    if not whole.exists():
        with torch.device("meta"):
            model = make(config)
        write(seeded(model), whole)
    if not halved.exists():
        # Every reader knows the names with this prefix.
        prefix = "text_model." if name == "text_encoder" else ""
        state = load_file(whole)
        write({prefix + key.removeprefix(prefix): value.half() for key, value in state.items()}, halved)


def letters():
    """What stands for each byte in the vocabulary: itself where it can be printed, and what follows 255 elsewhere."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + at) for at in range(len(others))]


def tokenizer(configs, half, vocabulary):
    """`vocab.json` and `merges.txt` as they follow from the published file."""
    folder = half / "tokenizer"
    shutil.copytree(configs / "tokenizer", folder, dirs_exist_ok=True)
    lines = gzip.open(vocabulary).read().decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    words = letters() + [letter + "</w>" for letter in letters()] + [merge.replace(" ", "") for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")


def main(folder, configs, vocabulary):
    folder, configs = Path(folder), Path(configs)
    full, half = folder / "sd15", folder / "sd15-f16"
    for name in NETWORKS:
        network(name, configs, full, half)
    tokenizer(configs, half, vocabulary)
    shutil.copytree(configs / "scheduler", half / "scheduler", dirs_exist_ok=True)
    (half / "model_index.json").write_text(json.dumps(INDEX, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
