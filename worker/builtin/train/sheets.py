"""Sample sheets: grids of pictures as PNG."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """`[n, 3, h, w]` in [-1, 1] to `[n, h, w, 3]` u8."""
    pictures = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return pictures.permute(0, 2, 3, 1).cpu().numpy()


def from_bytes(pictures: np.ndarray, device="cpu") -> torch.Tensor:
    """`[n, h, w, 3]` u8 to `[n, 3, h, w]` f32 in [-1, 1]."""
    pictures = torch.from_numpy(np.array(pictures, order="C")).to(device)
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def write(path: Path, pictures: np.ndarray, columns: int, gap: int = 0):
    """`[n, h, w, 3]` u8, row by row; the last row is filled up with white."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Per picture, in dB, of `[n, 3, h, w]` in [-1, 1]."""
    error = (a.float().clamp(-1, 1) - b.float().clamp(-1, 1)).square().mean((1, 2, 3))
    return 10 * torch.log10(4 / error.clamp_min(1e-10))
