"""The preview decoder: what `AutoencoderTiny` makes of scaled latents is to look like the autoencoder's own picture.

It learns from the autoencoder's decode, not from the scenes, so that a preview promises nothing that the final
picture will not hold.
"""

import torch

from . import latents as latent_files
from . import sheets
from .networks import new_preview_decoder, parameters
from .progress import say
from .scenes import store
from .trainer import Plan, Trainer
from .vae import load_vae
from .work import Work, load

_SIDE = 16  # latents per side of a crop on a CPU; a GPU takes whole pictures


def run(work: Work):
    tiny = new_preview_decoder().to(memory_format=torch.channels_last)
    say("preview decoder parameters", parameters(tiny.decoder))
    decoder = tiny.decoder
    lr, ema = work.by_device(2e-3, 1e-3), work.by_device(0.99, 0.999)
    plan = Plan("preview", steps=work.by_device(6_000, 8_000), lr=lr, cooldown=0.4, ema=ema)
    trainer = Trainer(work, plan, decoder)
    vae = load_vae(work)
    scale = latent_files.scaling_factor(work)
    values = latent_files.load(work)[0].values.to(work.device)
    batch = work.options.batch or work.by_device(4, 32)
    side = work.by_device(_SIDE, values.shape[-1])

    def batches(generator):
        picks = torch.randint(len(values), (batch,), generator=generator).to(work.device)
        top, left = (int(torch.randint(values.shape[-1] - side + 1, (), generator=generator)) for _ in range(2))
        return values[:, :, top : top + side, left : left + side][picks].float()

    def losses(latents):
        with torch.no_grad(), work.autocast():
            target = vae.decode(latents).sample.float()
        with work.autocast():
            decoded = decoder((latents * scale).contiguous(memory_format=torch.channels_last))
        difference = decoded.float() - target
        l1, mse = difference.abs().mean(), difference.square().mean()
        return {"loss": l1 + 4 * mse, "l1": l1, "psnr": 10 * torch.log10(4 / mse.detach())}

    def on_checkpoint() -> str:
        check = load_preview(work, trainer.averaged())
        values, fidelity = _compare(work, check, vae, scale, 16)
        sheets.write(work.sheets / "preview.png", sheets.to_bytes(values), 4)
        return f"held-out psnr against the autoencoder {fidelity:.2f} dB"

    trainer.run(batches, losses, on_checkpoint)


def load_preview(work: Work, weights: dict[str, torch.Tensor] | None = None):
    """The `AutoencoderTiny` with the trained decoder's average."""
    tiny = new_preview_decoder()
    tiny.decoder.load_state_dict(weights or load(work.checkpoint("preview"))["ema"])
    return tiny.to(work.device).eval().requires_grad_(False)


@torch.no_grad()
def _compare(work: Work, tiny, vae, scale: float, count: int):
    """Previews above the autoencoder's decodes, for a sheet, and the mean PSNR between them."""
    held_out = sheets.from_bytes(store.native(work.data, "held_out").images[:count], work.device)
    latents = latent_files.encode(work, vae, held_out)
    own = latent_files.decode(work, vae, latents)
    preview = tiny.decode(latents * scale).sample.float()
    return torch.cat([preview[:4], own[:4]]), float(sheets.psnr(preview, own).mean())
