"""Every picture through the autoencoder once; text encoder, UNet, basis and preview decoder train on the result."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from . import sheets
from .progress import Progress, say
from .scenes import store
from .vae import load_vae
from .work import Work
from .work import load as load_file


@dataclass(frozen=True)
class Latents:
    """The latents of one picture size, unscaled: `[n, 4, h/8, w/8]` f16."""

    bucket: store.Bucket
    values: torch.Tensor


def run(work: Work):
    """Resumes by size: a file that exists is complete, unless the autoencoder was trained on since."""
    vae = load_vae(work)
    vae_step = load_file(work.checkpoint("vae"))["step"]
    marker = work.latents / "vae_step.json"
    if not marker.exists() or json.loads(marker.read_text()) != vae_step:
        for stale in work.latents.glob("*.npy"):
            stale.unlink()
        (work.latents / "scale.json").unlink(missing_ok=True)
        marker.write_text(json.dumps(vae_step))
    native = store.native(work.data, "train")
    _encode_all(work, vae, native, _half_path(work), half=True)
    _write_scale(work)
    for bucket in store.buckets(work.data, "train"):
        _encode_all(work, vae, bucket, _path(work, bucket))


def _encode_all(work: Work, vae, bucket: store.Bucket, path: Path, half: bool = False):
    if path.exists():
        return
    count = len(bucket)
    if work.options.encode and not half:
        whole = len(store.native(work.data, "train"))
        count = min(count, max(count * work.options.encode // whole, 4))
    batch = work.by_device(8, 128)
    progress = Progress(f"latents {path.stem}", count)
    found = []
    for start in range(0, count, batch):
        pictures = sheets.from_bytes(bucket.images[start : min(start + batch, count)], work.device)
        if half:
            pictures = F.avg_pool2d(pictures, 2)
        found.append(encode(work, vae, pictures).half().cpu().numpy())
        progress.report(start + len(pictures), {})
    # The name must end in .npy, or numpy adds it.
    unfinished = path.with_name(f"part-{path.name}")
    np.save(unfinished, np.concatenate(found))
    os.replace(unfinished, path)


def load_half(work: Work) -> Latents:
    """Those of the native pictures at half their size."""
    path = _half_path(work)
    if not path.exists():
        raise SystemExit(f"{path} is missing: run the stage latents first.")
    return Latents(store.native(work.data, "train"), torch.from_numpy(np.load(path)))


def load(work: Work) -> list[Latents]:
    """The native size, and those of the others that are there already."""
    found = []
    for bucket in store.buckets(work.data, "train"):
        path = _path(work, bucket)
        if path.exists():
            found.append(Latents(bucket, torch.from_numpy(np.load(path))))
        elif not found:
            raise SystemExit(f"{path} is missing: run the stage latents first.")
    return found


def scaling_factor(work: Work) -> float:
    """What latents are multiplied by to have unit variance, as in the autoencoder's config."""
    return json.loads((work.latents / "scale.json").read_text())["scaling_factor"]


@torch.no_grad()
def encode(work: Work, vae, pictures: torch.Tensor) -> torch.Tensor:
    """The mean latents of `[n, 3, h, w]` in [-1, 1], unscaled, f32."""
    with work.autocast():
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        return vae.encode(pictures).latent_dist.mean.float()


@torch.no_grad()
def decode(work: Work, vae, latents: torch.Tensor) -> torch.Tensor:
    """Pictures `[n, 3, h, w]` in about [-1, 1], f32, of unscaled latents."""
    with work.autocast():
        return vae.decode(latents.contiguous(memory_format=torch.channels_last)).sample.float()


def _path(work: Work, bucket: store.Bucket):
    return work.latents / f"{bucket.folder.parent.name}-{bucket.folder.name}.npy"


def _half_path(work: Work):
    return work.latents / "train-half.npy"


def _write_scale(work: Work):
    """Once: every network behind the autoencoder is trained with this one number."""
    if (work.latents / "scale.json").exists():
        return
    values = load_half(work).values.float()
    deviations = values.std((0, 2, 3)).tolist()
    facts = {
        "scaling_factor": 1 / float(values.std()),
        "channel_means": values.mean((0, 2, 3)).tolist(),
        "channel_deviations": deviations,
    }
    (work.latents / "scale.json").write_text(json.dumps(facts, indent=2))
    say(
        "latents:",
        f"scaling factor {facts['scaling_factor']:.4f}, deviations",
        [round(value, 2) for value in deviations],
    )
    if min(deviations) < 0.25 * max(deviations):
        say("latents: a channel is nearly asleep; the autoencoder should be trained on before what follows.")
    work.record("latents", **facts)
