"""Pictures, labels and captions on disk.

A split (`train` or `held_out`) has one folder per picture size, `WIDTHxHEIGHT`, with `images.npy`
`[count, height, width, 3]` u8, `labels.npy` `[count, heads]` i64 in the order of `attributes.HEADS`, and
`captions.json`: per picture a list of `[text, named]`. Every picture has its own seed, so that any of them can be
made again and the number of processes changes nothing.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..progress import Progress
from .attributes import HEADS, sample
from .captions import caption
from .draw import draw

# width, height, share of the training set: the native size, and those at which a person may ask for a picture
SIZES = ((256, 256, 0.72), (384, 256, 0.08), (256, 384, 0.08), (192, 192, 0.07), (384, 384, 0.05))
NATIVE = (256, 256)
CAPTIONS_PER_SCENE = 8
_CHUNK = 64
_SPLITS = {"train": 1, "held_out": 2}


@dataclass(frozen=True)
class Bucket:
    """All pictures of one size."""

    folder: Path
    width: int
    height: int

    @cached_property
    def images(self) -> np.ndarray:
        return np.load(self.folder / "images.npy", mmap_mode="r")

    @cached_property
    def labels(self) -> np.ndarray:
        return np.load(self.folder / "labels.npy")

    @cached_property
    def captions(self) -> list[list[tuple[str, list[str]]]]:
        return json.loads((self.folder / "captions.json").read_text())

    def __len__(self) -> int:
        return len(self.labels)


def buckets(root: Path, split: str) -> list[Bucket]:
    """Largest share first, which is the native size."""
    found = [Bucket(root / split / f"{width}x{height}", width, height) for width, height, _ in SIZES]
    return [bucket for bucket in found if (bucket.folder / "captions.json").exists()]


def native(root: Path, split: str) -> Bucket:
    return Bucket(root / split / "{}x{}".format(*NATIVE), *NATIVE)


def make(root: Path, count: int, held_out: int, workers: int, seed: int):
    """Draws what is missing; a size whose captions are written is complete."""
    jobs = [("train", width, height, max(int(count * share), 4)) for width, height, share in SIZES]
    jobs.append(("held_out", *NATIVE, held_out))
    for split, width, height, number in jobs:
        folder = root / split / f"{width}x{height}"
        if not (folder / "captions.json").exists():
            _make_bucket(folder, split, width, height, number, workers, seed)


def _make_bucket(folder: Path, split: str, width: int, height: int, count: int, workers: int, seed: int):
    folder.mkdir(parents=True, exist_ok=True)
    shape = (count, height, width, 3)
    np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    tasks = [
        (folder / "images.npy", (seed, _SPLITS[split], width, height), start, min(start + _CHUNK, count), width, height)
        for start in range(0, count, _CHUNK)
    ]
    progress = Progress(f"scenes {split} {width}x{height}", count)
    labels, captions = [], []
    with ProcessPoolExecutor(workers) as pool:
        for some_labels, some_captions in pool.map(_make_chunk, tasks):
            labels += some_labels
            captions += some_captions
            progress.report(len(labels), {})
    np.save(folder / "labels.npy", np.asarray(labels, np.int64).reshape(-1, len(HEADS)))
    unfinished = folder / "captions.json.part"
    unfinished.write_text(json.dumps(captions))
    os.replace(unfinished, folder / "captions.json")


def _make_chunk(task):
    path, seed, start, stop, width, height = task
    images = np.lib.format.open_memmap(path, mode="r+")
    labels, captions = [], []
    for index in range(start, stop):
        rng = np.random.default_rng((*seed, index))
        scene = sample(rng)
        images[index] = draw(scene, width, height, rng)
        labels.append(scene.labels())
        wordings = (caption(scene, rng) for _ in range(CAPTIONS_PER_SCENE))
        captions.append([(wording.text, wording.named) for wording in wordings])
    images.flush()
    return labels, captions
