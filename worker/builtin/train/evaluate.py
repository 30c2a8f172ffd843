"""Measures the exported folder: what was asked for against what the judge finds, and how true the decoders are.

With RANK and WORLD_SIZE as in `trainer.Peers`, the other processes draw the captions while the first does the rest.
"""

import json
from dataclasses import dataclass

import torch

from . import latents as latent_files
from . import sheets
from .judge import accuracy, judge_pictures, load_judge
from .networks import SIZE_LIMIT
from .norm import use_fast_norms
from .progress import Progress, say
from .prompts import SHEET
from .sampling import sample
from .scenes import store
from .scenes.attributes import HEADS, KINDS
from .tokenizer import encode, load
from .trainer import Peers
from .work import Work

_SHEET_SEED = 7
_SHEET_PICTURES = 50
_BOUNDS = {"time": 0.98, "terrain": 0.95, "subject": 0.92, "subject color": 0.90}


@dataclass(frozen=True)
class Measure:
    """A number and the bound that it must reach; without a bound it is for the record."""

    name: str
    value: float
    bound: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.bound is None or (self.value <= self.bound if self.unit == "MB" else self.value >= self.bound)

    def line(self) -> str:
        value = f"{self.value:.2%}" if self.unit == "" else f"{self.value:.2f} {self.unit}"
        if self.bound is None:
            return f"  {self.name:<34} {value:>10}"
        bound = f"{self.bound:.0%}" if self.unit == "" else f"{self.bound:g} {self.unit}"
        relation = "≤" if self.unit == "MB" else "≥"
        return f"  {self.name:<34} {value:>10}   {relation} {bound:<7} {'met' if self.met else 'MISSED'}"


class Model:
    """The exported networks: the weights as shipped, rounded to f16. The decoders are compared in f32; the UNet
    draws in bf16 where training does."""

    def __init__(self, work: Work):
        from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
        from transformers import CLIPTextModel

        def part(kind, name):
            if not (work.model / name / "config.json").exists():
                raise SystemExit(f"{work.model / name} is missing: run the stage export first.")
            network = use_fast_norms(kind.from_pretrained(work.model / name).float())
            return network.to(work.device, memory_format=torch.channels_last).eval().requires_grad_(False)

        self.work = work
        self.tokenizer = load(work)
        self.text = part(CLIPTextModel, "text_encoder")
        self.unet = part(UNet2DConditionModel, "unet")
        self.vae = part(AutoencoderKL, "vae")
        self.preview = part(AutoencoderTiny, "preview_decoder")
        self.scale = self.vae.config.scaling_factor

    @torch.no_grad()
    def draw(self, prompts: list[str], seeds: list[int], width: int = 256, height: int = 256) -> torch.Tensor:
        """`[n, 3, h, w]` in [-1, 1] on the CPU, one of each seed."""
        options = self.work.options
        batch = self.work.by_device(5, 100)
        progress = Progress(f"drawing {width}x{height}", len(prompts))
        pictures = []
        for start in range(0, len(prompts), batch):
            part = prompts[start : start + batch]
            states = self.text(encode(self.tokenizer, ["", *part]).to(self.work.device)).last_hidden_state
            with self.work.autocast():
                drawn = sample(
                    self.work,
                    self.unet,
                    states[1:],
                    states[:1],
                    options.sampling_steps,
                    options.guidance_scale,
                    seeds[start : start + batch],
                    width,
                    height,
                )
            pictures.append(latent_files.decode(self.work, self.vae, drawn / self.scale).clamp(-1, 1).cpu())
            progress.report(start + len(part), {})
        return torch.cat(pictures)


def run(work: Work):
    model, judge, peers = Model(work), load_judge(work), Peers()
    if not peers.first:
        peers.gather(_draw_captions(work, model, judge, peers))
        return
    _sheets(work, model)
    measures = [*_decoders(work, model), *_judge(work, judge)]
    drawn = peers.gather(_draw_captions(work, model, judge, peers))
    measures += _prompts(work, {index: found for part in drawn for index, found in part.items()})
    size = sum(file.stat().st_size for file in work.model.rglob("*") if file.is_file())
    measures.append(Measure("size", size / 1e6, SIZE_LIMIT / 1e6, "MB"))
    say("\nevaluation")
    for measure in measures:
        say(measure.line())
    result = {
        "captions": work.options.count,
        "sampling_steps": work.options.sampling_steps,
        "guidance_scale": work.options.guidance_scale,
        "seed": work.options.seed,
        "measures": [{**vars(measure), "met": measure.met} for measure in measures],
    }
    (work.root / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    work.record("evaluate", **{measure.name: round(measure.value, 5) for measure in measures})
    missed = [measure.name for measure in measures if not measure.met]
    say("\nall bounds met" if not missed else f"\nbounds missed: {', '.join(missed)}")


@torch.no_grad()
def _decoders(work: Work, model: Model) -> list[Measure]:
    images = store.native(work.data, "held_out").images[: min(work.by_device(128, 512), 8 * work.options.count)]
    own, tiny = [], []
    batch = work.by_device(4, 32)
    progress = Progress("decoders", len(images))
    for start in range(0, len(images), batch):
        pictures = sheets.from_bytes(images[start : start + batch], work.device)
        latents = model.vae.encode(pictures).latent_dist.mean
        decoded = model.vae.decode(latents).sample
        preview = model.preview.decode(latents * model.scale).sample
        own.append(sheets.psnr(decoded, pictures))
        tiny.append(sheets.psnr(preview, decoded))
        progress.report(start + len(pictures), {})
    deviations = json.loads((work.latents / "scale.json").read_text())["channel_deviations"]
    own_psnr, tiny_psnr = float(torch.cat(own).mean()), float(torch.cat(tiny).mean())
    return [
        Measure("autoencoder PSNR", own_psnr, 32.0, "dB"),
        Measure("preview decoder PSNR", tiny_psnr, 26.0, "dB"),
        Measure("least lively latent channel", min(deviations) / max(deviations)),
    ]


def _judge(work: Work, judge) -> list[Measure]:
    scores = accuracy(work, judge, len(store.native(work.data, "held_out")))
    bounds = {"time": 0.99, "terrain": 0.99, "subject": 0.99, "subject color": 0.99}
    return [Measure(f"judge on real: {name}", value, bounds.get(name)) for name, value in scores.items()]


def _draw_captions(work: Work, model: Model, judge, peers: Peers) -> dict[int, tuple[list[int], torch.Tensor | None]]:
    """What the judge answers of each held-out caption's picture, and the first pictures themselves."""
    bucket = store.native(work.data, "held_out")
    everything = list(range(min(work.options.count, len(bucket))))
    drawers = max(peers.count - 1, 1)
    mine = everything if peers.count == 1 else everything[peers.rank - 1 :: drawers] if not peers.first else []
    if not mine:
        return {}
    captions = [bucket.captions[index][0][0] for index in mine]
    pictures = model.draw(captions, [work.options.seed + index for index in mine])
    answers = judge_pictures(work, judge, pictures).tolist()
    return {
        # A copy, because a view is sent with everything that it is a view of.
        index: (answer, picture.clone() if index < _SHEET_PICTURES else None)
        for index, answer, picture in zip(mine, answers, pictures, strict=True)
    }


def _prompts(work: Work, drawn: dict[int, tuple[list[int], torch.Tensor | None]]) -> list[Measure]:
    bucket = store.native(work.data, "held_out")
    count = len(drawn)
    captions = [wordings[0] for wordings in bucket.captions[:count]]
    answers = torch.tensor([drawn[index][0] for index in range(count)])
    found = _found(answers, torch.from_numpy(bucket.labels[:count]), [named for _, named in captions])
    shown = torch.stack([drawn[index][1] for index in range(min(count, _SHEET_PICTURES))])
    sheets.write(work.sheets / "evaluate.png", sheets.to_bytes(shown), 10)
    lines = [f"{index:3} {text}" for index, (text, _) in enumerate(captions[:_SHEET_PICTURES])]
    (work.sheets / "evaluate.txt").write_text("\n".join(lines) + "\n")
    return [
        Measure(f"drawn as asked: {name}", sum(hits) / len(hits), _BOUNDS.get(name))
        for name, hits in found.items()
        if hits
    ]


def _seeds(first: int, count: int) -> list[int]:
    return list(range(first, first + count))


def _found(answers: torch.Tensor, labels: torch.Tensor, named: list[list[str]]) -> dict[str, list[bool]]:
    """For every attribute that a caption names, whether the judge saw it in the picture.

    A colour counts only on the subject that it was asked for: a red house and a blue tree do not make a red tree.
    """
    columns = {head: index for index, head in enumerate(HEADS)}
    found = {name: [] for name in (*_BOUNDS, "no other subject", "season", "weather", "body", "subject position")}
    for answer, label, names in zip(answers.tolist(), labels.tolist(), named, strict=True):
        asked = {name for name in names if name in KINDS}
        if asked:
            seen = {kind for kind in KINDS if answer[columns[f"{kind} color"]] > 0}
            found["no other subject"].append(seen <= asked)
        for name in names:
            if name in KINDS:
                found["subject"].append(answer[columns[f"{name} color"]] > 0)
                continue
            group = name if name in found else f"subject {name.rpartition(' ')[2]}"
            found[group].append(answer[columns[name]] == label[columns[name]])
    return found


def _sheets(work: Work, model: Model):
    """The README's 5 × 5 sheet, and one row at each of the other sizes."""
    prompts = list(SHEET[: max(min(len(SHEET), work.options.count), 1)])
    sheets.write(work.sheets / "readme.png", sheets.to_bytes(model.draw(prompts, _seeds(_SHEET_SEED, len(prompts)))), 5)
    for width, height, _ in store.SIZES[1:]:
        some = prompts[: work.by_device(3, 6)]
        pictures = model.draw(some, _seeds(_SHEET_SEED, len(some)), width, height)
        sheets.write(work.sheets / f"readme-{width}x{height}.png", sheets.to_bytes(pictures), 6)
