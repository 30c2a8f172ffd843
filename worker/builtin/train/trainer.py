"""The loop that every network is trained with.

A checkpoint holds model, optimizer, average (EMA), both random states and the step, so that a run that is cut off
goes on as if nothing had happened. The learning rate warms up, stays, and falls to zero over the last part of the
steps (or, with `--finish`, of the time box), so that training may be stretched over as many sittings as it takes.
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import distributed, nn

from .muon import Muon
from .progress import Progress, say
from .work import Work, load, save


@dataclass(frozen=True)
class Plan:
    name: str
    steps: int
    lr: float
    warmup: int = 200
    cooldown: float = 0.3  # share of the steps over which the learning rate falls
    weight_decay: float = 1e-4
    ema: float = 0.999
    save_every_s: float = 240.0


class Average:
    """Exponential moving average of the parameters and buffers, f32."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        # A state dict refers to the model's own tensors, which are changed in place, so once is enough.
        current = model.state_dict()
        self.values = {name: value.detach().clone() for name, value in current.items()}
        self.sources = [value for value in current.values() if value.is_floating_point()]
        self.targets = [value for value in self.values.values() if value.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int):
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.targets, self.sources, share)

    @torch.no_grad()
    def restore(self, values: dict[str, torch.Tensor]):
        for name, value in self.values.items():
            value.copy_(values[name])


class Peers:
    """Several processes that train one network, each on batches of its own ("Don't Use Large Mini-Batches, Use Local
    SGD"): every few steps all take the mean of their weights. On cores that others use too this beats threads, which
    wait for each other in every operation. The environment says who takes part, as for `torch.distributed`:
    RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT."""

    EVERY = 20  # steps

    def __init__(self):
        self.count, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")

    @property
    def first(self) -> bool:
        return self.rank == 0

    @torch.no_grad()
    def share(self, model: nn.Module):
        """All begin with the weights of the first."""
        if self.count > 1:
            for parameter in model.parameters():
                distributed.broadcast(parameter, 0)

    @torch.no_grad()
    def average(self, step: int, model: nn.Module):
        if self.count == 1 or step % self.EVERY:
            return
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flat = torch.cat([parameter.flatten() for parameter in trained])
        distributed.all_reduce(flat)
        for parameter, mean in zip(trained, flat.div_(self.count).split([p.numel() for p in trained]), strict=True):
            parameter.copy_(mean.view_as(parameter))

    def gather(self, value) -> list:
        """What every process has to give, in the first one."""
        if self.count == 1:
            return [value]
        found = [None] * self.count if self.first else None
        distributed.gather_object(value, found, 0)
        # A process that left now would cut the line that the first still reads from.
        distributed.barrier()
        return found or []

    def agree(self, step: int, done: bool) -> bool:
        """Whether to end: when the first process says so, and where all have the same weights."""
        if self.count == 1:
            return done
        if step % self.EVERY:
            return False
        said = torch.tensor([int(done)])
        distributed.broadcast(said, 0)
        return bool(said)


class Trainer:
    """`losses(batch) -> dict` gives scalars; the one named `loss` is minimised, the others are printed.

    `batches(generator)` draws one batch; all its choices come from `generator`, a CPU generator kept in the
    checkpoint. Noise on the device comes from torch's own generator there, also kept.
    """

    def __init__(self, work: Work, plan: Plan, model: nn.Module):
        options = work.options
        self.work, self.model = work, model.to(work.device)
        steps, lr = options.steps or plan.steps, options.lr or plan.lr
        self.plan = Plan(**{**plan.__dict__, "steps": steps, "lr": lr})
        self.path = work.checkpoint(plan.name)
        self.optimizers = _optimizers(self.model, lr, plan.weight_decay)
        self.peers = Peers()
        torch.manual_seed(options.seed + self.peers.rank)
        self.generator = torch.Generator().manual_seed(options.seed + self.peers.rank)
        self.average = Average(self.model, plan.ema)
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        if self.path.exists():
            self._restore()

    @property
    def finished(self) -> bool:
        return self.step >= self.plan.steps

    def run(self, batches: Callable, losses: Callable, on_checkpoint: Callable[[], str] | None = None):
        options = self.work.options
        if self.finished:
            say(f"{self.plan.name}: complete, {self.step} steps")
            return
        progress = Progress(self.plan.name, self.plan.steps, self.step, options.minutes)
        begun_at, saved_at = self.seconds, time.monotonic()
        self.peers.share(self.model)
        self.model.train()
        stopped = _stop_signals()
        while not self.peers.agree(self.step, self.finished or progress.time_is_up or bool(stopped)):
            rate = self._set_lr(progress)
            found = losses(batches(self.generator))
            self.model.zero_grad(set_to_none=True)
            found["loss"].backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.step += 1
            self.peers.average(self.step, self.model)
            self.average.update(self.step)
            self.seconds = begun_at + progress.seconds
            if progress.due or self.finished:
                numbers = {name: float(value.detach()) for name, value in found.items()}
                self._require_finite(numbers["loss"])
                self.history.append({"step": self.step, "seconds": round(self.seconds, 1), **numbers})
                progress.report(self.step, {**numbers, "lr!": rate})
            if self.peers.first and time.monotonic() - saved_at > self.plan.save_every_s:
                self._checkpoint(on_checkpoint)
                saved_at = time.monotonic()
        if not self.peers.first:
            return
        self._checkpoint(on_checkpoint)
        self.work.record(self.plan.name, step=self.step, steps=self.plan.steps, seconds=round(self.seconds, 1))
        if stopped:
            raise SystemExit(f"{self.plan.name}: stopped and saved at step {self.step}.")

    def averaged(self) -> dict[str, torch.Tensor]:
        return self.average.values

    def _set_lr(self, progress: Progress) -> float:
        plan = self.plan
        left = (plan.steps - self.step) / plan.steps / plan.cooldown
        if self.work.options.finish and progress.end is not None:
            left = min(left, (1 - progress.share_of_time) / max(plan.cooldown, 0.6))
        lr = plan.lr * min(1.0, (self.step + 1) / plan.warmup) * max(min(left, 1.0), 0.01)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        return lr

    def _require_finite(self, value: float):
        if not math.isfinite(value):
            # The last checkpoint is sound, and stays.
            raise SystemExit(f"{self.plan.name}: not a finite number any more at step {self.step}: try a lower --lr.")

    def _checkpoint(self, on_checkpoint):
        self._require_finite(float(sum(parameter.detach().sum() for parameter in self.model.parameters())))
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "ema": self.average.values,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.work.on_cuda else None,
            "history": self.history,
        }
        save(state, self.path)
        # A few hundred points tell the curve of a run of any length.
        curve = self.history[:: max(len(self.history) // 400, 1)]
        (self.work.curves / f"{self.plan.name}.json").write_text(json.dumps(curve))
        if on_checkpoint:
            self.model.eval()
            with torch.no_grad():
                say(f"{self.plan.name} {self.step}: saved.", on_checkpoint())
            self.model.train()

    def _restore(self):
        state = load(self.path, self.work.device)
        self.model.load_state_dict(state["model"])
        self.average.restore(state["ema"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        if self.peers.first:
            self.generator.set_state(state["generator"].cpu())
            torch.set_rng_state(state["torch_rng"].cpu())
        else:
            self.generator.manual_seed(self.work.options.seed + self.peers.rank + self.step)
        if self.work.on_cuda and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        say(f"{self.plan.name}: goes on from step {self.step}")


def _stop_signals() -> list[int]:
    """A list that stays empty until somebody asks the process to end; the step at hand is then saved first."""
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda found, _frame: received.append(found))
    return received


def compiled(work: Work, function):
    """`torch.compile` on a GPU; should it fail on its first call, the plain function and a line that says so."""
    if not (work.on_cuda and work.options.compile):
        return function
    state = {"call": torch.compile(function), "proven": False}

    def call(*arguments):
        if state["proven"]:
            return state["call"](*arguments)
        try:
            result = state["call"](*arguments)
        except Exception as error:  # the compiler's own errors have no common class
            say(f"torch.compile failed ({type(error).__name__}); training goes on without it, slower.")
            state["call"] = function
            result = function(*arguments)
        state["proven"] = True
        return result

    return call


def _optimizers(model: nn.Module, lr: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon for what maps channels to channels; AdamW for tables, for the few rows to and from pictures, and, not
    decayed, for biases and norms."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    tables = {id(parameter) for module in embeddings for parameter in module.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    maps = [p for p in trained if p.dim() > 1 and id(p) not in tables and min(p.shape[:2]) > 4]
    chosen = {id(p) for p in maps}
    matrices = [p for p in trained if p.dim() > 1 and id(p) not in chosen]
    vectors = [p for p in trained if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [
        Muon(maps, lr=lr, weight_decay=weight_decay),
        torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True),
    ]
