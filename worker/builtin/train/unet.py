"""The UNet: v-prediction with min-SNR weights, a tenth of the captions left out.

Two stages share this: `layout` learns from pictures of half the size what a caption asks for and where it stands, at a
quarter of the cost; `unet` goes on from there at the sizes that a person asks for. The text encoder stays as its
warm-up left it, so that every caption is read once, before the first step.

Latents stay on the device. Seventeen steps in twenty are of the native size, for which the network is compiled on a
GPU; the others teach it to draw at other sizes and shapes.
"""

import torch
from torch import nn

from . import latents as latent_files
from . import sheets
from .dataset import captions_of
from .networks import TRAIN_TIMESTEPS, alphas_cumprod, new_text_encoder, new_unet, parameters
from .progress import Progress, say
from .prompts import SHEET
from .sampling import sample
from .tokenizer import encode, load
from .trainer import Plan, Trainer, compiled
from .vae import load_vae
from .work import Work, save
from .work import load as load_file

CAPTION_DROP = 0.10
SNR_MAX = 5.0  # "Efficient Diffusion Training via Min-SNR Weighting Strategy", for v: min(snr, 5) / (snr + 1)
NATIVE_SHARE = 0.85
WORDINGS = 3  # of each scene; a CPU keeps the states of all of them in memory


class Drawer(nn.Module):
    def __init__(self, vocabulary: int):
        super().__init__()
        self.text = new_text_encoder(vocabulary).requires_grad_(False)
        self.unet = new_unet()

    def forward(self, noisy, timesteps, states):
        return self.unet(noisy, timesteps, states).sample


def run(work: Work):
    plan = Plan(
        "unet",
        steps=work.by_device(60_000, 30_000),
        lr=work.by_device(2e-3, 1e-3),
        warmup=work.by_device(100, 500),
        weight_decay=1e-2,
        ema=work.by_device(0.99, 0.9995),
    )
    train(work, plan, latent_files.load(work), "layout", 256)


def train(work: Work, plan: Plan, found: list[latent_files.Latents], before: str, side: int):
    """Goes on from the stage `before`, on the latents of `found`, the first of which are of the size `side`."""
    tokenizer = load(work)
    drawer = Drawer(tokenizer.get_vocab_size()).to(memory_format=torch.channels_last)
    say("parameters: text encoder", parameters(drawer.text), "unet", parameters(drawer.unet))
    if not work.checkpoint(plan.name).exists():
        drawer.load_state_dict(_averaged(work, before), strict=before != "text")
    trainer = Trainer(work, plan, drawer)
    objective = Objective(work, drawer, tokenizer, found)
    check = Drawer(tokenizer.get_vocab_size()).to(work.device).eval()
    vae = load_vae(work)

    def on_checkpoint() -> str:
        check.load_state_dict(trainer.averaged())
        prompts = SHEET[: work.by_device(6, 25)]
        steps = min(work.options.sampling_steps, work.by_device(12, 25))
        ids = encode(tokenizer, ["", *prompts]).to(work.device)
        states = check.text(ids).last_hidden_state
        with work.autocast():
            drawn = sample(
                work, check.unet, states[1:], states[:1], steps, work.options.guidance_scale, width=side, height=side
            )
        pictures = latent_files.decode(work, vae, drawn.float() / objective.scale)
        path = work.sheets / f"{plan.name}-{trainer.step:06}.png"
        sheets.write(path, sheets.to_bytes(pictures), work.by_device(6, 5))
        return f"sheet {path.name}"

    trainer.run(objective.batch, objective.losses, on_checkpoint)


def _averaged(work: Work, stage: str) -> dict[str, torch.Tensor]:
    """What an earlier stage has to give: all of the drawer, or its text encoder."""
    averaged = load_file(work.checkpoint(stage))["ema"]
    return {name: value for name, value in averaged.items() if name.startswith(("text.", "unet."))}


class Objective:
    """Batches of noisy latents with captions, and the loss on them."""

    def __init__(self, work: Work, drawer: Drawer, tokenizer, found: list[latent_files.Latents]):
        self.work, self.drawer = work, drawer
        self.batch_size = work.options.batch or work.by_device(32, 256)
        self.scale = latent_files.scaling_factor(work)
        self.latents = [item.values.to(work.device) for item in found]
        self.states = [_states(work, drawer.text, tokenizer, item) for item in found]
        others = float(sum(len(values) for values in self.latents[1:])) or 1.0
        self.shares = torch.tensor(
            [NATIVE_SHARE, *((1 - NATIVE_SHARE) * len(values) / others for values in self.latents[1:])]
        )
        self.empty = _read(work, drawer.text, encode(tokenizer, [""])[None])[0]
        self.alphas = alphas_cumprod().to(work.device)
        self.fast = compiled(work, drawer.forward)

    def batch(self, generator: torch.Generator):
        size = int(torch.multinomial(self.shares, 1, generator=generator))
        count, wordings = len(self.latents[size]), self.states[size].shape[1]
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
        states = torch.where(dropped[:, None, None], self.empty, self.states[size][scene, wording])
        return size == 0, clean, states, timesteps

    def losses(self, batch):
        native, clean, states, timesteps = batch
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        noise = torch.randn_like(clean)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        forward = self.fast if native else self.drawer
        with self.work.autocast():
            predicted = forward(noisy.contiguous(memory_format=torch.channels_last), timesteps, states)
        error = (predicted.float() - target).square().mean((1, 2, 3))
        snr = self.alphas[timesteps] / (1 - self.alphas[timesteps])
        loss = (error * snr.clamp_max(SNR_MAX) / (snr + 1)).mean()
        return {"loss": loss, "mse": error.detach().mean()}


def _states(work: Work, text, tokenizer, item: latent_files.Latents) -> torch.Tensor:
    """The text states of the captions that belong to latents; read once, then kept beside them."""
    path = work.latents / f"states-{item.bucket.folder.name}.pt"
    count = len(item.values)
    states = load_file(path, work.device) if path.exists() else []
    if len(states) < count:
        states = _read(work, text, captions_of(item.bucket, tokenizer).ids[:count])
        save(states, path)
    return states


@torch.no_grad()
def _read(work: Work, text, ids: torch.Tensor) -> torch.Tensor:
    """The text states of `[scenes, wordings, 77]` ids: `[scenes, wordings, 77, c]` bf16."""
    ids = ids[:, :WORDINGS]
    flat = ids.flatten(0, 1).long()
    progress, found = Progress("captions", len(flat)), []
    for part in flat.split(work.by_device(64, 2048)):
        with work.autocast():
            found.append(text(part.to(work.device)).last_hidden_state.bfloat16())
        progress.report(sum(map(len, found)), {})
    return torch.cat(found).unflatten(0, ids.shape[:2])
