"""The autoencoder's decoder, trained on when its encoder is settled.

The UNet learns from latents while this goes on beside it: they stay what they are. Whole pictures, so that norms see
what they see when a picture is drawn.
"""

import torch

from . import latents as latent_files
from . import sheets
from .networks import new_vae
from .scenes import store
from .trainer import Plan, Trainer
from .vae import Decoder, fidelity, report
from .work import Work, load


def run(work: Work):
    vae = _settled(work)
    decoder = Decoder(vae).to(memory_format=torch.channels_last)
    plan = Plan("decoder", steps=work.by_device(20_000, 10_000), lr=1e-3, cooldown=0.4)
    trainer = Trainer(work, plan, decoder)
    native = latent_files.load(work)[0]
    batch = work.options.batch or work.by_device(2, 16)
    held_out = sheets.from_bytes(store.native(work.data, "held_out").images[:32], work.device)

    def batches(generator):
        picks = torch.randint(len(native.values), (batch,), generator=generator)
        pictures = sheets.from_bytes(native.bucket.images[picks.numpy()], work.device)
        return native.values[picks].to(work.device).float(), pictures

    def losses(batch):
        latents, pictures = batch
        with work.autocast():
            decoded = decoder(latents.contiguous(memory_format=torch.channels_last))
        return fidelity(pictures, decoded.float())

    def on_checkpoint() -> str:
        check = _settled(work).eval()
        Decoder(check).load_state_dict(trainer.averaged())
        return report(work, check.to(work.device), held_out)

    trainer.run(batches, losses, on_checkpoint)


def _settled(work: Work):
    """The autoencoder as the stage `vae` left it."""
    vae = new_vae()
    vae.load_state_dict(load(work.checkpoint("vae"))["ema"])
    return vae.to(memory_format=torch.channels_last)
