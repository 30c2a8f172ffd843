"""The stage `scenes`: draws the training set and the held-out set."""

import numpy as np

from . import sheets
from .scenes import store
from .work import Work


def run(work: Work):
    options = work.options
    held_out = min(max(options.scenes // 8, 32), 2048)
    store.make(work.data, options.scenes, held_out, options.workers, options.seed)
    bucket = store.native(work.data, "held_out")
    sheets.write(work.sheets / "scenes.png", np.asarray(bucket.images[:35]), 7)
    work.record("scenes", train=sum(map(len, store.buckets(work.data, "train"))), held_out=len(bucket))
