"""Text encoder and UNet together: v-prediction with min-SNR weights, a tenth of the captions left out.

Latents stay on the device. Seventeen steps in twenty are of the native size, for which the network is compiled on a
GPU; the others teach it to draw at other sizes and shapes.
"""

import torch
from torch import nn

from . import latents as latent_files
from . import sheets
from .dataset import captions_of
from .networks import TRAIN_TIMESTEPS, alphas_cumprod, new_text_encoder, new_unet, parameters
from .progress import say
from .prompts import SHEET
from .sampling import sample
from .tokenizer import encode, load
from .trainer import Plan, Trainer, compiled
from .vae import load_vae
from .work import Work
from .work import load as load_file

CAPTION_DROP = 0.10
SNR_MAX = 5.0  # "Efficient Diffusion Training via Min-SNR Weighting Strategy", for v: min(snr, 5) / (snr + 1)
NATIVE_SHARE = 0.85


class Drawer(nn.Module):
    def __init__(self, vocabulary: int):
        super().__init__()
        self.text = new_text_encoder(vocabulary)
        self.unet = new_unet()

    def forward(self, noisy, timesteps, ids):
        return self.unet(noisy, timesteps, self.text(ids).last_hidden_state).sample


def run(work: Work):
    tokenizer = load(work)
    drawer = Drawer(tokenizer.get_vocab_size()).to(memory_format=torch.channels_last)
    say("parameters: text encoder", parameters(drawer.text), "unet", parameters(drawer.unet))
    if not work.checkpoint("unet").exists():
        drawer.text.load_state_dict(warm_text(work))
    plan = Plan(
        "unet",
        steps=work.by_device(60_000, 30_000),
        lr=work.by_device(5e-4, 1e-3),
        warmup=500,
        weight_decay=1e-2,
        ema=0.9995,
    )
    trainer = Trainer(work, plan, drawer)
    objective = Objective(work, drawer, tokenizer)
    check = Drawer(tokenizer.get_vocab_size()).to(work.device).eval()
    vae = load_vae(work)

    def on_checkpoint() -> str:
        check.load_state_dict(trainer.averaged())
        prompts = SHEET[: work.by_device(4, 25)]
        steps = min(work.options.sampling_steps, work.by_device(10, 25))
        ids = encode(tokenizer, ["", *prompts]).to(work.device)
        states = check.text(ids).last_hidden_state
        drawn = sample(work, check.unet, states[1:], states[:1], steps, work.options.guidance_scale)
        pictures = latent_files.decode(work, vae, drawn / objective.scale)
        path = work.sheets / f"unet-{trainer.step:06}.png"
        sheets.write(path, sheets.to_bytes(pictures), work.by_device(4, 5))
        return f"sheet {path.name}"

    trainer.run(objective.batch, objective.losses, on_checkpoint)


def warm_text(work: Work) -> dict[str, torch.Tensor]:
    averaged = load_file(work.checkpoint("text"))["ema"]
    return {name.removeprefix("text."): value for name, value in averaged.items() if name.startswith("text.")}


class Objective:
    """Batches of noisy latents with captions, and the loss on them."""

    def __init__(self, work: Work, drawer: Drawer, tokenizer):
        self.work, self.drawer = work, drawer
        self.batch_size = work.options.batch or work.by_device(12, 256)
        self.scale = latent_files.scaling_factor(work)
        found = latent_files.load(work)
        self.latents = [item.values.to(work.device) for item in found]
        self.ids = [captions_of(item.bucket, tokenizer).ids.to(work.device) for item in found]
        others = float(sum(len(values) for values in self.latents[1:])) or 1.0
        self.shares = torch.tensor(
            [NATIVE_SHARE, *((1 - NATIVE_SHARE) * len(values) / others for values in self.latents[1:])]
        )
        self.empty = encode(tokenizer, [""]).to(work.device)
        self.alphas = alphas_cumprod().to(work.device)
        self.fast = compiled(work, drawer.forward)

    def batch(self, generator: torch.Generator):
        size = int(torch.multinomial(self.shares, 1, generator=generator))
        count, wordings = self.ids[size].shape[:2]
        scene = torch.randint(count, (self.batch_size,), generator=generator)
        wording = torch.randint(wordings, (self.batch_size,), generator=generator)
        dropped = torch.rand(self.batch_size, generator=generator) < CAPTION_DROP
        # One timestep from each of `batch_size` equal parts of the schedule: less variance than by lot.
        spread = (torch.arange(self.batch_size) + torch.rand(self.batch_size, generator=generator)) / self.batch_size
        timesteps = (spread * TRAIN_TIMESTEPS).long().clamp_max(TRAIN_TIMESTEPS - 1)
        scene, wording, dropped, timesteps = (
            choice.to(self.work.device) for choice in (scene, wording, dropped, timesteps)
        )
        clean = self.latents[size][scene].float() * self.scale
        ids = torch.where(dropped[:, None], self.empty, self.ids[size][scene, wording].long())
        return size == 0, clean, ids, timesteps

    def losses(self, batch):
        native, clean, ids, timesteps = batch
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        noise = torch.randn_like(clean)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        forward = self.fast if native else self.drawer
        with self.work.autocast():
            predicted = forward(noisy.contiguous(memory_format=torch.channels_last), timesteps, ids)
        error = (predicted.float() - target).square().mean((1, 2, 3))
        snr = self.alphas[timesteps] / (1 - self.alphas[timesteps])
        loss = (error * snr.clamp_max(SNR_MAX) / (snr + 1)).mean()
        return {"loss": loss, "mse": error.detach().mean()}
