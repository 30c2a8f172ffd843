"""Warm-up of the text encoder: it learns to say what a caption asks for, before the UNet listens to it.

Per head of `attributes.HEADS` a linear layer on the state of the end token answers with the named value or with
"not named". A few minutes of this save the UNet hours of finding out what the words mean.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .dataset import captions_of
from .networks import TEXT_CHANNELS, new_text_encoder, parameters
from .progress import say
from .scenes import store
from .scenes.attributes import HEADS
from .tokenizer import EOS, load
from .trainer import Plan, Trainer
from .work import Work

_SIZES = [len(values) + 1 for values in HEADS.values()]  # the last class is "not named"


class Reader(nn.Module):
    """The text encoder with its answering heads."""

    def __init__(self, vocabulary: int, end: int):
        super().__init__()
        self.text = new_text_encoder(vocabulary)
        self.heads = nn.Linear(TEXT_CHANNELS, sum(_SIZES))
        self.end = end

    def forward(self, ids: torch.Tensor) -> list[torch.Tensor]:
        states = self.text(ids).last_hidden_state
        first_end = (ids == self.end).int().argmax(1)
        at_end = states[torch.arange(len(ids), device=ids.device), first_end]
        return list(self.heads(at_end).split(_SIZES, dim=1))


def run(work: Work):
    tokenizer = load(work)
    reader = Reader(tokenizer.get_vocab_size(), tokenizer.token_to_id(EOS))
    say("text encoder parameters", parameters(reader.text))
    plan = Plan("text", steps=work.by_device(2_500, 3_000), lr=1e-3, weight_decay=1e-2, ema=0.99)
    trainer = Trainer(work, plan, reader)
    batch = work.options.batch or work.by_device(64, 512)
    train = captions_of(store.native(work.data, "train"), tokenizer)
    held_out = captions_of(store.native(work.data, "held_out"), tokenizer)
    # What comes after the end token says nothing, and nothing before it sees it.
    longest = int((train.ids != tokenizer.token_to_id(EOS)).sum(-1).max()) + 1
    check = Reader(tokenizer.get_vocab_size(), tokenizer.token_to_id(EOS)).to(work.device).eval()

    def batches(generator):
        scene = torch.randint(len(train.ids), (batch,), generator=generator)
        wording = torch.randint(train.ids.shape[1], (batch,), generator=generator)
        ids = train.ids[scene, wording, :longest].long()
        return ids.to(work.device), _targets(train, scene, wording).to(work.device)

    def losses(batch):
        ids, targets = batch
        with work.autocast():
            answers = [answer.float() for answer in reader(ids)]
        loss = sum(F.cross_entropy(answer, target) for answer, target in zip(answers, targets.T, strict=True))
        right = torch.stack([answer.argmax(1) == target for answer, target in zip(answers, targets.T, strict=True)])
        return {"loss": loss, "right": right.float().mean()}

    def on_checkpoint() -> str:
        check.load_state_dict(trainer.averaged())
        scene = torch.arange(min(512, len(held_out.ids)))
        answers = check(held_out.ids[scene, 0].long().to(work.device))
        targets = _targets(held_out, scene, torch.zeros_like(scene)).to(work.device)
        right = torch.stack([answer.argmax(1) == target for answer, target in zip(answers, targets.T, strict=True)], 1)
        named = held_out.named[scene, 0].to(work.device)
        return f"held-out captions: {right[named].float().mean():.2%} of named attributes understood"

    trainer.run(batches, losses, on_checkpoint)


def _targets(captions, scene, wording) -> torch.Tensor:
    unnamed = torch.tensor(_SIZES) - 1
    return torch.where(captions.named[scene, wording], captions.labels[scene], unnamed)
