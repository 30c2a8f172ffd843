"""The linear preview basis: least squares from scaled latents to RGB in [0, 1], both on the latent grid."""

import json

import numpy as np

from . import latents as latent_files
from .networks import SCALE
from .progress import say
from .work import Work

PICTURES = 1000


def run(work: Work):
    native = latent_files.load(work)[0]
    latents = native.values[:PICTURES].float().numpy() * latent_files.scaling_factor(work)
    pictures = native.bucket.images[:PICTURES].astype(np.float32) / 255
    count, channels, height, width = latents.shape
    rgb = pictures.reshape(count, height, SCALE, width, SCALE, 3).mean((2, 4)).reshape(-1, 3)
    ones = np.ones((count * height * width, 1), np.float32)
    known = np.concatenate([latents.transpose(0, 2, 3, 1).reshape(-1, channels), ones], 1)
    solution, *_ = np.linalg.lstsq(known, rgb, rcond=None)
    rms = float(np.sqrt(((known @ solution - rgb) ** 2).mean()))
    basis = {
        "rows": [[round(float(value), 5) for value in row] for row in solution[:channels]],
        "bias": [round(float(value), 5) for value in solution[channels]],
        "rms_error": round(rms, 4),
    }
    (work.model / "preview_basis.json").write_text(json.dumps(basis, indent=1) + "\n")
    say(f"basis: rms error {rms:.4f} of RGB in [0, 1]")
    work.record("basis", rms_error=rms)
