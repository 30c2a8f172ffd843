"""The UNet's first lessons, on pictures of half the size: a quarter of the cost, and the same captions."""

from . import latents as latent_files
from .trainer import Plan
from .unet import train
from .work import Work


def run(work: Work):
    plan = Plan(
        "layout",
        steps=work.by_device(6_000, 10_000),
        lr=work.by_device(2e-3, 1e-3),
        warmup=work.by_device(100, 500),
        weight_decay=1e-2,
        ema=work.by_device(0.99, 0.9995),
    )
    train(work, plan, [latent_files.load_half(work)], "text", 128)
