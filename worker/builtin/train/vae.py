"""The autoencoder.

The weight of the KL term is small on purpose: with a larger one a latent channel falls asleep and takes stars and
windows with it. The deviation of every channel is printed at each checkpoint, so that it would be seen.
"""

import numpy as np
import torch
from torch import nn

from . import sheets
from .networks import new_vae, parameters
from .progress import say
from .scenes import store
from .trainer import Plan, Trainer, compiled
from .work import Work, load

KL_WEIGHT = 1e-5  # per latent number
SQUARE_WEIGHT = 16.0  # large errors are the wrong colour of a subject, which are worse than many small ones
EDGE_WEIGHT = 0.5


def run(work: Work):
    vae = new_vae().to(memory_format=torch.channels_last)
    say("vae parameters", parameters(vae))
    plan = Plan("vae", steps=work.by_device(20_000, 40_000), lr=work.by_device(2e-3, 1e-3), cooldown=0.4)
    trainer = Trainer(work, plan, vae)
    batch = work.options.batch or work.by_device(4, 32)
    crops = Crops(work, batch, work.by_device(128, 192))
    held_out = sheets.from_bytes(store.native(work.data, "held_out").images[:32], work.device)
    forward = _compiled(work, vae)
    check = new_vae().to(work.device).eval()

    def losses(pictures):
        with work.autocast():
            decoded, mean, logvar = forward(pictures)
        return _losses(pictures, decoded.float(), mean.float(), logvar.float())

    def on_checkpoint() -> str:
        check.load_state_dict(trainer.averaged())
        return report(work, check, held_out)

    trainer.run(crops, losses, on_checkpoint)


def load_vae(work: Work):
    """The trained autoencoder (its average), in evaluation mode."""
    vae = new_vae()
    vae.load_state_dict(load(work.checkpoint("vae"))["ema"])
    if work.checkpoint("decoder").exists():
        Decoder(vae).load_state_dict(load(work.checkpoint("decoder"))["ema"])
    return vae.to(work.device, memory_format=torch.channels_last).eval().requires_grad_(False)


class Decoder(nn.Module):
    """What the stage `decoder` trains on: all of the autoencoder behind the latents."""

    def __init__(self, vae):
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents):
        return self.decoder(self.post_quant_conv(latents))


class Crops:
    """Random square crops of the pictures of all sizes, mirrored half the time."""

    def __init__(self, work: Work, batch: int, size: int):
        self.work, self.batch, self.size = work, batch, size
        self.buckets = [
            bucket for bucket in store.buckets(work.data, "train") if min(bucket.width, bucket.height) >= size
        ]
        self.shares = torch.tensor([float(len(bucket)) for bucket in self.buckets])
        # 3 GB of pictures fit on a GPU; a CPU reads them through the page cache.
        self.images = [
            torch.from_numpy(np.array(bucket.images)).to(work.device) if work.on_cuda else bucket.images
            for bucket in self.buckets
        ]

    def __call__(self, generator: torch.Generator) -> torch.Tensor:
        images = self.images[int(torch.multinomial(self.shares, 1, generator=generator))]
        height, width = images.shape[1:3]
        picks = torch.randint(len(images), (self.batch,), generator=generator)
        top = int(torch.randint((height - self.size) // 8 + 1, (), generator=generator)) * 8
        left = int(torch.randint((width - self.size) // 8 + 1, (), generator=generator)) * 8
        mirror = bool(torch.rand((), generator=generator) < 0.5)
        rows, columns = slice(top, top + self.size), slice(left, left + self.size)
        if isinstance(images, torch.Tensor):
            # Cut before gathering, so that only the crops are copied.
            crops = images[:, rows, columns][picks.to(images.device)]
        else:
            crops = torch.stack([torch.from_numpy(images[int(i), rows, columns].copy()) for i in picks])
        pictures = crops.permute(0, 3, 1, 2).float() / 127.5 - 1
        if mirror:
            pictures = pictures.flip(3)
        return pictures.to(self.work.device).contiguous(memory_format=torch.channels_last)


def _compiled(work: Work, vae):
    def forward(pictures):
        posterior = vae.encode(pictures).latent_dist
        mean, logvar = posterior.mean, posterior.logvar
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return vae.decode(latents).sample, mean, logvar

    return compiled(work, forward)


def _losses(pictures, decoded, mean, logvar) -> dict[str, torch.Tensor]:
    found = fidelity(pictures, decoded)
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return {**found, "loss": found["loss"] + KL_WEIGHT * kl, "kl": kl.detach()}


def fidelity(pictures, decoded) -> dict[str, torch.Tensor]:
    """How far a decode is from its picture."""
    difference = decoded - pictures
    l1, mse = difference.abs().mean(), difference.square().mean()
    edges = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    edges = edges + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    loss = l1 + SQUARE_WEIGHT * mse + EDGE_WEIGHT * edges
    return {"loss": loss, "l1": l1.detach(), "psnr": 10 * torch.log10(4 / mse.detach())}


@torch.no_grad()
def report(work: Work, vae, held_out) -> str:
    latents, decoded = [], []
    for part in held_out.split(8):
        with work.autocast():
            mean = vae.encode(part).latent_dist.mean
            decoded.append(vae.decode(mean).sample.float())
        latents.append(mean.float())
    latents, decoded = torch.cat(latents), torch.cat(decoded)
    pairs = torch.stack([held_out[:10], decoded[:10]], 1).flatten(0, 1)
    sheets.write(work.sheets / "vae.png", sheets.to_bytes(pairs), min(10, len(pairs)))
    deviations = ", ".join(f"{value:.2f}" for value in latents.std((0, 2, 3)).tolist())
    return f"held-out psnr {sheets.psnr(held_out, decoded).mean():.2f} dB, deviation per latent channel {deviations}"
