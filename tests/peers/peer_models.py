"""The models that both sides draw with: the tiny ones of `tests/goldens`, the built-in one, and some of them again under
another configuration of their scheduler."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

GOLDENS = Path(__file__).parent.parent / "goldens"
sys.path.insert(0, str(GOLDENS))
from families import SD_TURBO, SDXL_TURBO, ZERO_SNR  # noqa: E402

# What both say of tiny models would hide what is compared.
for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()

BUILTIN = GOLDENS.parent.parent / "worker" / "builtin" / "model"
SCHEDULER = "scheduler/scheduler_config.json"
ANY = ("text", "image", "inpaint")


@dataclass(frozen=True)
class Model:
    """A name in the worker's catalogue."""

    name: str
    base: Path
    # What the configuration of the scheduler says otherwise than in `base`.
    settings: dict = field(default_factory=dict, hash=False)
    kinds: tuple = ANY
    # Names of schedulers; none for all of them.
    schedulers: tuple = ()
    refiner: str = ""

    @property
    def is_xl(self):
        return self.base.name.startswith("sdxl")

    @property
    def is_turbo(self):
        return self.name.endswith("turbo")

    @property
    def lora_base(self):
        """The model that there are LoRAs for whose networks are its own."""
        return next((name for name, base in LORA_BASES.items() if base == self.base), "")


LORA_BASES = {"builtin": BUILTIN, "sd2": GOLDENS / "sd2", "sdxl": GOLDENS / "sdxl"}
FEW_STEPS = ("euler", "euler_a", "dpmpp_2m", "heun", "ddim")
MODELS = (
    Model("builtin", BUILTIN),
    Model("sd2", GOLDENS / "sd2"),
    Model("sd2_zero_snr", GOLDENS / "sd2", ZERO_SNR, kinds=("text", "image")),
    Model("sd_turbo", GOLDENS / "sd2", SD_TURBO, ("text", "image"), FEW_STEPS),
    Model("sdxl", GOLDENS / "sdxl"),
    Model("sdxl_turbo", GOLDENS / "sdxl", SDXL_TURBO, ("text", "image"), FEW_STEPS),
    Model("sdxl_refined", GOLDENS / "sdxl", kinds=("text",), refiner="sdxl_refiner"),
    Model("inpaint", GOLDENS / "inpaint", kinds=("inpaint",)),
    Model("lcm", GOLDENS / "lcm", kinds=("text",), schedulers=("lcm",)),
)
REFINER = Model("sdxl_refiner", GOLDENS / "sdxl_refiner")


def folders(into):
    """The folder of every model by its name, those with settings of their own below `into`."""
    found = {}
    for model in (*MODELS, REFINER):
        found[model.name] = model.base
        if model.settings:
            found[model.name] = into / model.name
            found[model.name].mkdir()
            for part in model.base.iterdir():
                if part.name != "scheduler":
                    (into / model.name / part.name).symlink_to(part)
            (into / model.name / "scheduler").mkdir()
            config = json.loads((model.base / SCHEDULER).read_text()) | model.settings
            (into / model.name / SCHEDULER).write_text(json.dumps(config))
    return found


def load(folder):
    """The pipeline of a folder, in f32."""
    index = json.loads((folder / "model_index.json").read_text())
    if "unet" in index:
        settings = {} if "text_encoder_2" in index else {"safety_checker": None}
        return DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, **settings)
    config = json.loads((folder / SCHEDULER).read_text())
    f32 = {"torch_dtype": torch.float32}
    return StableDiffusionPipeline(
        AutoencoderKL.from_pretrained(folder / "vae", variant="fp16", **f32),
        CLIPTextModel.from_pretrained(folder / "text_encoder", **f32),
        CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77),
        UNet2DConditionModel.from_pretrained(folder / "unet", **f32),
        getattr(diffusers, config["_class_name"]).from_pretrained(folder / "scheduler"),
        None,
        None,
        requires_safety_checker=False,
    )
