"""Textual inversion: files of every kind for the tiny pipeline sd1, and what its text encoder makes of them.

embeddings/*.safetensors   the A1111 web UI's kind, diffusers' kind, and SDXL's for two encoders
embeddings.safetensors     states of the text encoder with them, by prompt
"""

import shutil
from pathlib import Path

import torch
from lora import pipeline
from safetensors.torch import save_file

HERE = Path(__file__).parent
FOLDER = HERE / "embeddings"
PROMPTS = ["a <hills> house", "hills-style house, a red <hills> in hills-style"]


@torch.no_grad()
def embeddings():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    generator = torch.Generator().manual_seed(31)

    def vectors(*shape):
        return 0.5 * torch.randn(*shape, generator=generator)

    save_file({"<hills>": vectors(32)}, FOLDER / "token.safetensors")
    save_file({"emb_params": vectors(3, 32)}, FOLDER / "hills-style.safetensors")
    save_file({"clip_l": vectors(2, 32), "clip_g": vectors(2, 20)}, FOLDER / "sdxl.safetensors")
    pipe = pipeline()
    plain = {prompt: pipe.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in PROMPTS}
    pipe.load_textual_inversion(FOLDER / "token.safetensors")
    pipe.load_textual_inversion(FOLDER / "hills-style.safetensors", token="hills-style")
    tensors = {prompt: pipe.encode_prompt(prompt, "cpu", 1, False)[0] for prompt in PROMPTS}
    for prompt, state in tensors.items():
        assert state.shape == (1, 77, 32) and (state - plain[prompt]).norm() > 0.1 * state.norm()
    save_file(tensors, HERE / "embeddings.safetensors")
    print(len(tensors), "prompts with embeddings")
