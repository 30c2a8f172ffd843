"""Captions and what they name, as tensors."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from .scenes.attributes import HEADS
from .scenes.store import Bucket
from .tokenizer import encode


@dataclass(frozen=True)
class Captions:
    """All wordings of one size's scenes."""

    ids: torch.Tensor  # [scenes, wordings, 77] i16
    labels: torch.Tensor  # [scenes, heads] i64
    named: torch.Tensor  # [scenes, wordings, heads] bool


def captions_of(bucket: Bucket, tokenizer: Tokenizer) -> Captions:
    texts = [text for wordings in bucket.captions for text, _ in wordings]
    heads = {head: index for index, head in enumerate(HEADS)}
    named = torch.zeros(len(texts), len(HEADS), dtype=torch.bool)
    row = 0
    for wordings in bucket.captions:
        for _, names in wordings:
            for name in names:
                # A kind alone ("a tent") asks for a subject without naming a value of any head.
                if name in heads:
                    named[row, heads[name]] = True
            row += 1
    shape = (len(bucket), len(bucket.captions[0]))
    return Captions(
        ids=encode(tokenizer, texts).short().view(*shape, -1),
        labels=torch.from_numpy(bucket.labels),
        named=named.view(*shape, -1),
    )
