"""The command line."""

import argparse
from importlib import import_module
from pathlib import Path

from .progress import say
from .work import Options, Work

STAGES = (
    "scenes",
    "tokenizer",
    "vae",
    "latents",
    "text",
    "layout",
    "unet",
    "decoder",
    "basis",
    "preview",
    "export",
    "judge",
    "evaluate",
)


def main():
    options, stages = _parse()
    work = Work(options)
    for stage in stages:
        say(f"== {stage} on {work.device}")
        _run(stage, work)


def _run(stage: str, work: Work):
    # Imported one by one: scenes and tokenizer need neither diffusers nor transformers.
    module = "pictures" if stage == "scenes" else stage
    import_module(f".{module}", __package__).run(work)


def _parse() -> tuple[Options, tuple[str, ...]]:
    parser = argparse.ArgumentParser(prog="python -m train", description="Trains the built-in model, stage by stage.")
    add = parser.add_argument
    add("stage", choices=(*STAGES, "all"))
    add("--work-dir", type=Path, default=Path(__file__).parent / "work", help="data, checkpoints, the finished model")
    add("--device", help="cpu or cuda; without it, a GPU where there is one")
    add("--threads", type=int, help="torch threads; 1 per process is best on shared CPU cores")
    add("--workers", type=int, default=2, help="processes that draw scenes")
    add("--seed", type=int, default=0)
    add(
        "--scenes",
        type=int,
        default=16_000,
        help="pictures to train on; an eighth as many (at most 2,048) are held out",
    )
    add("--encode", type=int, help="so many native pictures at most through the autoencoder, others in proportion")
    add("--minutes", type=float, help="time box of each stage; run again to go on")
    add("--finish", action="store_true", help="let the learning rate fall to zero within --minutes")
    add("--steps", type=int, help="steps of each training stage, instead of its own plan")
    add("--batch", type=int)
    add("--lr", type=float)
    add("--no-compile", dest="compile", action="store_false", help="no torch.compile on a GPU")
    add("--count", type=int, default=400, help="held-out captions to evaluate")
    add("--sampling-steps", type=int, default=25)
    add("--guidance-scale", type=float, default=4.0)
    arguments = vars(parser.parse_args())
    stage = arguments.pop("stage")
    return Options(**arguments), STAGES if stage == "all" else (stage,)


if __name__ == "__main__":
    main()
