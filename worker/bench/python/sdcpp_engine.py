"""stable-diffusion.cpp through its Python library, which draws whole pictures.

A case of the UNet is a long picture that is drawn one step at a time: between two steps the library waits in its callback
until the next one is asked for. Latents do not come out of the library, so there is nothing to compare in such a case.
"""

import threading

import numpy as np
from stable_diffusion_cpp import StableDiffusion

UNWRITTEN = "its library hands out no latents to compare"
# More than a case is repeated.
STEPS = 1000


def load(spec, folder):
    return StableDiffusion(
        model_path=folder,
        wtype=spec.get("wtype", "default"),
        n_threads=spec["threads"],
        rng_type="cpu",
        sampler_rng_type="cpu",
        vae_decode_only=True,
        verbose=False,
    )


class Steps:
    """A picture that is drawn one step at a time."""

    def __init__(self, model, arguments):
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        thread = threading.Thread(
            target=lambda: model.generate_image(**arguments, progress_callback=self.stepped), daemon=True
        )
        thread.start()

    def stepped(self, *_):
        self.done.release()
        self.go.acquire()

    def wait(self):
        self.done.acquire()

    def step(self):
        self.go.release()
        self.wait()


def arguments(spec):
    return {
        "width": spec["width"],
        "height": spec["height"],
        "cfg_scale": spec["guidance_scale"],
        "sample_method": "euler",
        "sample_steps": spec["steps"],
    }


def one_step(spec):
    """What computes the next step of a picture whose size and guidance need as many evaluations as the case."""
    guidance = 1.0 if spec["batch"] == 1 else 7.5
    side = 8 * spec["size"]
    asked = {"width": side, "height": side, "guidance_scale": guidance, "steps": STEPS}
    model = load({**spec, "wtype": "f32"}, spec["pipeline"])
    steps = Steps(model, {"prompt": "noise", "seed": 0, **arguments(asked)})
    # It calls back once before the first step.
    steps.wait()

    def compute():
        steps.step()
        return UNWRITTEN

    return compute


def first_step(spec):
    """What begins a picture and comes back when its first step is done."""
    model = load(spec, spec["model"])

    def compute():
        steps = Steps(model, {"prompt": spec["prompt"], "seed": 0, **arguments(spec)})
        steps.wait()
        steps.step()
        return UNWRITTEN

    return compute


def whole(spec):
    """What draws the next picture, `[1, height, width, 3]`, 0 to 255."""
    model = load(spec, spec["model"])
    numbers = iter(range(1 << 30))

    def compute():
        number = next(numbers)
        asked = {"prompt": spec["prompt"].replace("#", str(number)), "seed": number}
        pictures = model.generate_image(**asked, **arguments(spec))
        return np.asarray(pictures[0], dtype=np.float32)[None]

    return compute


def prepare(spec):
    if spec.get("work") == "unet":
        return one_step(spec)
    return first_step(spec) if spec.get("first_step") else whole(spec)
