"""The judge: a small classifier of real scenes that answers every head of `attributes.HEADS`.

It never sees a generated picture. Slight blur and noise in training keep it from leaning on details that an
autoencoder changes.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import sheets
from .fused import norm_silu
from .scenes import store
from .scenes.attributes import HEADS, POSITIONS
from .trainer import Plan, Trainer
from .work import Work, load

_SIZES = [len(values) for values in HEADS.values()]


class _Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norms = nn.ModuleList(norm_silu(8, channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x):
        hidden = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            hidden = conv(norm(hidden))
        return x + hidden


class Judge(nn.Module):
    """Pictures `[n, 3, 256, 256]` in [-1, 1] to one row of logits per head."""

    def __init__(self, widths=(32, 96, 128, 128)):
        super().__init__()
        # Four by four pixels at once: no subject is so small that a finer grid would tell more.
        layers = [nn.PixelUnshuffle(4), nn.Conv2d(48, widths[0], 3, padding=1), _Block(widths[0])]
        for before, width in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), _Block(width)]
        # The 8 × 8 grid is kept, so that left, middle and right can be told.
        self.trunk = nn.Sequential(*layers, norm_silu(8, widths[-1]), nn.Conv2d(widths[-1], 32, 1))
        self.heads = nn.Sequential(nn.Linear(32 * 8 * 8, 384), nn.SiLU(), nn.Linear(384, sum(_SIZES)))

    def forward(self, pictures) -> torch.Tensor:
        return self.heads(self.trunk(pictures).flatten(1))


def answers_of(logits: torch.Tensor) -> torch.Tensor:
    """`[n, heads]` i64: the class of each head."""
    return torch.stack([head.argmax(1) for head in logits.split(_SIZES, dim=1)], 1)


def run(work: Work):
    judge = Judge().to(memory_format=torch.channels_last)
    lr = work.by_device(2e-3, 1e-3)
    plan = Plan("judge", steps=8_000, lr=lr, weight_decay=1e-2, cooldown=0.5, ema=work.by_device(0.99, 0.999))
    trainer = Trainer(work, plan, judge)
    bucket = store.native(work.data, "train")
    images = torch.from_numpy(np.array(bucket.images)).to(work.device) if work.on_cuda else bucket.images
    labels = torch.from_numpy(bucket.labels)
    batch = work.options.batch or work.by_device(16, 64)

    def batches(generator):
        picks = torch.randint(len(labels), (batch,), generator=generator)
        if work.on_cuda:
            pictures = images[picks.to(work.device)].permute(0, 3, 1, 2).float() / 127.5 - 1
        else:
            pictures = sheets.from_bytes(images[picks.numpy()])
        targets = labels[picks]
        if torch.rand((), generator=generator) < 0.5:
            pictures, targets = pictures.flip(3), _mirrored(targets)
        return pictures, targets.to(work.device)

    def losses(batch):
        pictures, targets = batch
        with work.autocast():
            logits = judge(_worn(pictures).contiguous(memory_format=torch.channels_last)).float()
        heads = logits.split(_SIZES, dim=1)
        loss = sum(F.cross_entropy(head, target) for head, target in zip(heads, targets.T, strict=True))
        return {"loss": loss, "right": (answers_of(logits) == targets).float().mean()}

    def on_checkpoint() -> str:
        check = load_judge(work, trainer.averaged())
        right = accuracy(work, check, 512)
        return "held-out: " + ", ".join(f"{name} {value:.2%}" for name, value in right.items())

    trainer.run(batches, losses, on_checkpoint)


def load_judge(work: Work, weights: dict[str, torch.Tensor] | None = None) -> Judge:
    judge = Judge()
    judge.load_state_dict(weights or load(work.checkpoint("judge"))["ema"])
    return judge.to(work.device).eval().requires_grad_(False)


@torch.no_grad()
def judge_pictures(work: Work, judge: Judge, pictures: torch.Tensor) -> torch.Tensor:
    """`[n, heads]` i64 on the CPU, for pictures in [-1, 1]."""
    found = [answers_of(judge(part.to(work.device))).cpu() for part in pictures.split(32)]
    return torch.cat(found)


def accuracy(work: Work, judge: Judge, count: int) -> dict[str, float]:
    """On held-out real scenes: single heads, presence of subjects, colour and position of those that are there."""
    bucket = store.native(work.data, "held_out")
    count = min(count, len(bucket))
    answers = torch.cat(
        [
            judge_pictures(work, judge, sheets.from_bytes(bucket.images[start : min(start + 64, count)]))
            for start in range(0, count, 64)
        ]
    )
    labels = torch.from_numpy(bucket.labels[:count])
    right = answers == labels
    columns = {head: index for index, head in enumerate(HEADS)}
    colors = [index for head, index in columns.items() if head.endswith(" color")]
    positions = [index for head, index in columns.items() if head.endswith(" position")]
    scores = {
        head: float(right[:, columns[head]].float().mean()) for head in ("time", "terrain", "season", "weather", "body")
    }
    present = labels[:, colors] > 0
    scores["subject"] = float(((answers[:, colors] > 0) == present).all(1).float().mean())
    if present.any():
        scores["subject color"] = float(right[:, colors][present].float().mean())
        scores["subject position"] = float(right[:, positions][present].float().mean())
    return scores


def _mirrored(labels: torch.Tensor) -> torch.Tensor:
    """The labels of the mirrored pictures: left and right change places."""
    labels = labels.clone()
    left, right = (1 + POSITIONS.index(name) for name in ("left", "right"))
    for column, head in enumerate(HEADS):
        if head.endswith(" position"):
            before = labels[:, column]
            labels[:, column] = torch.where(before == left, right, torch.where(before == right, left, before))
    return labels


def _worn(pictures: torch.Tensor) -> torch.Tensor:
    """Blurred a little, noisy a little, lit a little differently; by lot, one strength per picture."""
    count = len(pictures)
    blurred = F.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    share = torch.rand(count, 1, 1, 1, device=pictures.device)
    worn = pictures * (1 - share) + blurred * share
    strength = 0.06 * torch.rand(count, 1, 1, 1, device=pictures.device)
    light = 1 + 0.06 * (torch.rand(count, 1, 1, 1, device=pictures.device) - 0.5)
    return worn * light + strength * torch.randn_like(pictures)
