"""A picture decoded in tiles: `tiled.safetensors`, of the autoencoder of `sd1/`."""

import torch
from safetensors.torch import save_file

from models import HERE, last

# Cells: one tile and a bit downwards, two to the right of which the second lies all in the first but for a column.
SIZE = (70, 65)
# Cells along a side of a tile, as the full autoencoders have them.
TILE = 64
# Of the rows and columns of the picture, one in so many is kept.
EVERY = 3


@torch.no_grad()
def tiled(network):
    latents = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(23))
    network.enable_tiling()
    scale = 2 ** (len(network.config.block_out_channels) - 1)
    network.tile_latent_min_size, network.tile_sample_min_size = TILE, TILE * scale
    out = network.decode(latents / network.config.scaling_factor).sample
    network.disable_tiling()
    whole = network.decode(latents / network.config.scaling_factor).sample
    print(f"tiled: {tuple(out.shape)}, from the whole {(out - whole).norm() / whole.norm():.3f}")
    tensors = {"in": last(latents), "out": last(out)[:, ::EVERY, ::EVERY].contiguous()}
    save_file(tensors, HERE / "tiled.safetensors")
