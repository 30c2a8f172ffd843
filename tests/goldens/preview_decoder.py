"""Goldens of the preview decoders that browsers run: `preview_decoder.json` and the pictures in `preview_decoder/`.

Weights and latents are computed from their places by a formula that the tests of the browser client compute too, so
that only pictures are kept: `[h, w, 3]` u8, RGB, rows from the top, and nothing else in the file.
"""

import json
import shutil

import numpy as np
import torch
from diffusers import AutoencoderTiny

from models import HERE

# What is said of a decoder, and the latents (width, height) that it decodes.
CASES = {
    # As TAESD is published.
    "taesd": (dict(), [(8, 8), (9, 5)]),
    # As the built-in model's.
    "small": (dict(decoder_block_out_channels=(32,) * 4, num_decoder_blocks=(2, 2, 2, 1)), [(12, 12), (17, 6)]),
    # As TAESD for latents of sixteen channels.
    "wide_latents": (dict(latent_channels=16, num_decoder_blocks=(1, 1, 1, 1)), [(6, 4)]),
    # Numbers that no tile divides, a level without blocks, and latents that the wire pads.
    "odd": (
        dict(decoder_block_out_channels=(12,) * 3, num_decoder_blocks=(2, 0, 1), latent_channels=3),
        [(1, 1), (21, 13)],
    ),
}
LATENTS = 2**32  # the place of the first number of the latents


def uniform(first, count):
    """SplitMix64 (Steele, Lea and Flood 2014) of the places `first` and on, 24 bits of each, in [-1, 1)."""
    z = np.arange(first + 1, first + 1 + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def half(values, shape):
    """Rounded to f16, as files and the wire hold them."""
    return torch.from_numpy(values.astype(np.float32).astype(np.float16).astype(np.float32)).reshape(shape)


def fill(decoder):
    """He's bound for what precedes a ReLU, less where a residual is added and before the picture."""
    state, first = decoder.state_dict(), 0
    last = max(int(name.split(".")[1]) for name in state)
    for name, tensor in state.items():
        is_last = name.startswith(f"layers.{last}.")
        values = uniform(first, tensor.numel())
        first += tensor.numel()
        if name.endswith("bias"):
            values = values / 8 + (0.5 if is_last else 0.0)
        else:
            gain = 0.0625 if is_last else 0.5 if ".conv.4." in name else 1.0
            values = values * (gain * np.sqrt(6.0 / tensor[0].numel()))
        state[name] = half(values, tensor.shape)
    decoder.load_state_dict(state)


@torch.no_grad()
def preview_decoder():
    folder = HERE / "preview_decoder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    listed = []
    for name, (config, sizes) in CASES.items():
        # The encoder is as small as the class allows: nobody asks it.
        tiny = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, num_encoder_blocks=(1,) * 4, **config)
        fill(tiny.decoder)
        channels = tiny.config.latent_channels
        said = {key: value for key, value in tiny.config.items() if not key.startswith("_")}
        for width, height in sizes:
            latents = half(uniform(LATENTS, height * width * channels) * 3, (1, height, width, channels))
            decoded = tiny.decode(latents.permute(0, 3, 1, 2)).sample[0].permute(1, 2, 0)
            pixels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
            file = f"{name}_{width}x{height}.rgb"
            (folder / file).write_bytes(pixels.numpy().tobytes())
            inside = ((pixels > 0) & (pixels < 255)).float().mean()
            print(f"{file}: deviation {pixels.float().std():.1f}, {inside:.0%} within the range")
            listed.append({"file": file, "width": width, "height": height, "config": said})
    (HERE / "preview_decoder.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in listed) + "\n]\n")
