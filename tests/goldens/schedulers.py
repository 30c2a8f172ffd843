"""Short walks of every scheduler, as diffusers takes them.

trajectories.json         the walks: what a request and a model's configuration say, and where parts of a walk begin
trajectories.safetensors  of each walk its timesteps, some of its latents and predicted clean latents whole, and of all
                          of them one number: the scalar product with cos 0, cos 1, cos 2 …

The network is that of SD 1 over 4 × 4 latents, without guidance. All tensors are channels last.
"""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torchsde
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import AysSchedules
from safetensors.torch import save_file

HERE = Path(__file__).parent
TRAINED = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
SDE = {"algorithm_type": "sde-dpmsolver++"}
# The class and what is chosen for it, beyond what the model's configuration says.
SCHEDULERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpm2": (KDPM2DiscreteScheduler, {}),
    "dpm2_a": (KDPM2AncestralDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, SDE),
    "dpmpp_3m_sde": (DPMSolverMultistepScheduler, {**SDE, "solver_order": 3}),
    "dpmpp_2s": (DPMSolverSinglestepScheduler, {"algorithm_type": "dpmsolver++"}),
    "dpmpp_sde": (DPMSolverSDEScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
    "deis": (DEISMultistepScheduler, {}),
    "lms": (LMSDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "ddpm": (DDPMScheduler, {}),
    "pndm": (PNDMScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
}
NOT_SAMPLE = ("euler_a", "dpm2", "dpm2_a", "dpmpp_sde", "pndm")
SWITCHES = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
# Align Your Steps as its authors publish it; diffusers leaves out where the last step ends.
AYS_SIGMAS = {
    "sd15": [*AysSchedules["StableDiffusionSigmas"][:-1], 0.029],
    "sdxl": [*AysSchedules["StableDiffusionXLSigmas"][:-1], 0.029],
}
AYS_TIMESTEPS = {
    "sd15": AysSchedules["StableDiffusionTimesteps"],
    "sdxl": AysSchedules["StableDiffusionXLTimesteps"],
}


def parameters(function):
    return set(inspect.signature(function).parameters)


def spacings(name):
    """What diffusers' class has."""
    cls, _ = SCHEDULERS[name]
    known = parameters(cls.__init__)
    yield "default"
    yield from (sigmas for sigmas, switch in SWITCHES.items() if switch in known)
    # LCM and TCD have the parameter, and take no notice of it.
    if "timestep_spacing" in known and name not in ("lcm", "tcd"):
        yield "sgm_uniform"
    if "timesteps" in parameters(cls.set_timesteps):
        yield from ("simple", "ays")


def predictions(name):
    return ("epsilon", "v_prediction") if name in NOT_SAMPLE else ("epsilon", "v_prediction", "sample")


def cases():
    """Every scheduler with every prediction and spacing that it has, then each rarer setting once."""
    for name, (cls, _) in SCHEDULERS.items():
        order = cls.order
        base = {"skip_prk_steps": True} if name == "pndm" else {}

        def case(sigmas="default", steps=None, settings={}, **more):
            steps = steps or (4 if order == 2 else 6)
            return {"scheduler": name, "sigmas": sigmas, "steps": steps, "settings": {**base, **settings}, **more}

        for prediction in predictions(name):
            said = {} if prediction == "epsilon" else {"prediction_type": prediction}
            for sigmas in spacings(name):
                if sigmas == "ays":
                    yield case(sigmas, 10, said)
                else:
                    yield case(sigmas, settings=said)
            # Without the key it is linspace, or leading; trailing is sgm_uniform.
            spacing = "leading" if name not in ("ddim", "ddpm", "pndm") else "linspace"
            if name not in ("lcm", "tcd"):
                yield case(settings={**said, "timestep_spacing": spacing})
        *_, other = spacings(name)
        yield case(other, 8, {"timestep_spacing": "leading"}, strength=0.6)
        for sigmas in spacings(name):
            if sigmas != "default":
                yield case(sigmas, 5, {"timestep_spacing": "trailing", "beta_schedule": "linear"})
        if "ays" in spacings(name):
            yield case("ays", 7, aligned="sdxl")
            yield case("ays", 10, aligned="sdxl")
            yield case("simple", 7)
        yield case(steps=1)
        yield case(steps=2)
        yield case(steps=17)
        yield case(steps=16, strength=0.4)
        # Diffusers' samplers of two evaluations a step lose the largest sigma of the cosine to rounding.
        spacing = "leading" if order == 2 else "trailing"
        yield case(settings={"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": spacing})
        yield case(settings={"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02})
        zero_snr = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
        yield case(settings=zero_snr)
        yield case(steps=8, settings=zero_snr, strength=0.7)
        if "karras" in spacings(name):
            yield case(settings={"use_karras_sigmas": True})
        if {"karras", "sgm_uniform"} <= set(spacings(name)):
            yield case("sgm_uniform", settings={"use_exponential_sigmas": True})
    yield from rare()


def rare():
    def case(scheduler, settings, sigmas="default", steps=5, **more):
        return {"scheduler": scheduler, "sigmas": sigmas, "steps": steps, "settings": settings, **more}

    bounds = {"sigma_min": 0.1, "sigma_max": 10.0}
    for name in ("euler", "lms", "unipc"):
        for sigmas in SWITCHES:
            yield case(name, bounds, sigmas)
    yield case("euler", {"final_sigmas_type": "sigma_min"})
    yield case("heun", {"clip_sample": True})
    clipped = {"clip_sample": True, "set_alpha_to_one": True, "steps_offset": 0}
    for name in ("ddim", "ddpm", "lcm"):
        yield case(name, clipped)
    yield case("ddim", {}, eta=0.7)
    yield case("ddim", {"prediction_type": "v_prediction"}, eta=1.0)
    for variance in ("fixed_small", "fixed_small_log", "fixed_large", None):
        yield case("ddpm", {"variance_type": variance})
    for settings in ({}, {"prediction_type": "v_prediction"}, {"timestep_spacing": "linspace"}):
        yield case("pndm", {"skip_prk_steps": False, **settings}, steps=6)
        yield case("pndm", {"skip_prk_steps": False, **settings}, steps=4)
    yield case("pndm", {"skip_prk_steps": False}, steps=8, strength=0.5)
    yield case("pndm", {"skip_prk_steps": True, "set_alpha_to_one": True})
    for steps in (2, 4):
        yield case("lcm", {}, steps=steps)
        yield case("tcd", {}, steps=steps)
    for eta in (0.0, 1.0):
        yield case("tcd", {}, steps=4, eta=eta)
    for name in ("lcm", "tcd"):
        yield case(name, {"original_inference_steps": 40, "timestep_scaling": 5.0}, steps=4)
        yield case(name, {}, steps=4, reach=0.5)
        yield case(name, {}, steps=7, reach=0.83)
    ends = ({}, {"final_sigmas_type": "sigma_min"}, {"euler_at_final": True}, {"lower_order_final": False})
    for name in ("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde"):
        for solver in ("heun", "bh2"):
            for steps in (5, 16):
                yield case(name, {"solver_type": solver, "final_sigmas_type": "sigma_min"}, steps=steps)
        for end in ends:
            for order in (1, 2, 3):
                settings = {"solver_order": order, **end}
                if "final_sigmas_type" in end:
                    settings["lower_order_final"] = False
                yield case(name, settings)
    yield case("dpmpp_2m", {"lambda_min_clipped": -2.0, "euler_at_final": True})
    yield case("dpmpp_2m", {"lambda_min_clipped": -1.0, "timestep_spacing": "trailing"})
    yield case("dpmpp_2m", {"beta_schedule": "squaredcos_cap_v2"}, "exponential")
    yield case("dpmpp_2m", {"algorithm_type": "deis", "solver_type": "logrho"})
    for name in ("deis", "unipc"):
        for order in (1, 2, 3):
            yield case(name, {"solver_order": order}, steps=6)
            yield case(name, {"solver_order": order}, steps=17)
            yield case(name, {"solver_order": order}, steps=8, strength=0.8)
    yield case("deis", {"solver_order": 3, "lower_order_final": False})
    for order in (2, 3):
        settings = {"solver_order": order, "solver_type": "bh1"}
        # With nothing left at the end, diffusers multiplies by infinity.
        yield case("unipc", {**settings, "final_sigmas_type": "sigma_min", "lower_order_final": False})
        yield case("unipc", {"solver_order": order, "disable_corrector": [0, 2]})
    yield case("unipc", {"final_sigmas_type": "sigma_min"}, "karras")
    for order in (1, 2, 3):
        for steps in (6, 7, 8):
            yield case("dpmpp_2s", {"solver_order": order}, steps=steps)
            settings = {"solver_order": order, "final_sigmas_type": "sigma_min", "solver_type": "heun"}
            yield case("dpmpp_2s", settings, steps=steps)
        settings = {"solver_order": order, "final_sigmas_type": "sigma_min"}
        yield case("dpmpp_2s", settings, steps=6)
        yield case("dpmpp_2s", {**settings, "lower_order_final": True}, steps=6)
        yield case("dpmpp_2s", {"solver_order": order}, steps=9, strength=0.6)
    yield case("dpmpp_sde", {}, steps=9, seed=2**40 + 3)


def aligned_timesteps(scheduler, model, steps):
    if steps == 10:
        return AYS_TIMESTEPS[model]
    published = np.log(AYS_SIGMAS[model])
    sigmas = np.exp(np.interp(np.arange(steps) * 10 / steps, np.arange(11), published))
    alphas = scheduler.alphas_cumprod.double().numpy()
    logarithms = np.log(((1 - alphas) / alphas) ** 0.5)
    return np.interp(np.log(sigmas), logarithms, np.arange(len(alphas))).round().astype(int).tolist()


def build(case, seed):
    """The scheduler with its timesteps set."""
    cls, chosen = SCHEDULERS[case["scheduler"]]
    sigmas, steps = case["sigmas"], case["steps"]
    extra = dict(chosen)
    if sigmas != "default":
        known = parameters(cls.__init__)
        extra.update({switch: False for switch in SWITCHES.values() if switch in known})
    if sigmas in SWITCHES:
        extra[SWITCHES[sigmas]] = True
    if sigmas == "sgm_uniform":
        extra["timestep_spacing"] = "trailing"
    if case["scheduler"] == "dpmpp_sde":
        extra["noise_sampler_seed"] = seed
    scheduler = cls.from_config({**TRAINED, **case["settings"]}, **extra)
    options = {"strength": case["reach"]} if "reach" in case else {}
    if sigmas == "simple":
        count = scheduler.config.num_train_timesteps
        options["timesteps"] = [count - 1 - int(i * (count / steps)) for i in range(steps)]
    elif sigmas == "ays":
        options["timesteps"] = aligned_timesteps(scheduler, case.get("aligned", "sd15"), steps)
    else:
        options["num_inference_steps"] = steps
    scheduler.set_timesteps(**options)
    return scheduler


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1).contiguous()


def probe(x):
    flat = last(x).flatten().double()
    return float(flat @ torch.cos(torch.arange(flat.numel(), dtype=torch.float64)))


def predicted_clean(scheduler, stepped, output, t, sample):
    """What the network takes for the clean latent; diffusers' classes tell it, keep it, or do neither."""
    if hasattr(stepped, "pred_original_sample"):
        return stepped.pred_original_sample
    if isinstance(scheduler, LCMScheduler):
        return stepped.denoised
    if hasattr(scheduler, "model_outputs") and not isinstance(scheduler, DEISMultistepScheduler):
        return scheduler.model_outputs[-1]
    if isinstance(scheduler, DEISMultistepScheduler):
        alpha, sigma = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[scheduler.step_index - 1])
        return (sample - sigma * scheduler.model_outputs[-1]) / alpha
    alpha = scheduler.alphas_cumprod[t]
    signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    said = {
        "epsilon": lambda: (sample - sigma * output) / signal,
        "v_prediction": lambda: signal * sample - sigma * output,
        "sample": lambda: output,
    }
    return said[scheduler.config.prediction_type]()


def walk(network, case, number):
    """The tensors of one walk, and the first of its timesteps that is walked."""
    scheduler = build(case, case["seed"])
    generator = torch.Generator().manual_seed(case["seed"])
    timesteps, start, clean = scheduler.timesteps, 0, None
    if "strength" in case:
        clean, noise = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(2))
        pipeline = SimpleNamespace(scheduler=scheduler)
        arguments = (pipeline, case["steps"], case["strength"], None)
        timesteps, _ = StableDiffusionImg2ImgPipeline.get_timesteps(*arguments)
        start = len(scheduler.timesteps) - len(timesteps)
        sample = scheduler.add_noise(clean, noise, timesteps[:1])
    else:
        sample = torch.randn(1, 4, 4, 4, generator=generator) * scheduler.init_noise_sigma
    taken = parameters(scheduler.step)
    options = {"eta": case["eta"]} if "eta" in case else {}
    if "generator" in taken:
        options["generator"] = generator
    latents, denoised, mixed = [sample], [], []
    for i, t in enumerate(timesteps):
        output = network(scheduler.scale_model_input(sample, t), t)
        stepped = scheduler.step(output, t, sample, **options)
        denoised.append(predicted_clean(scheduler, stepped, output, t, sample))
        sample = stepped.prev_sample
        latents.append(sample)
        if clean is not None and i + 1 < len(timesteps):
            mixed.append(scheduler.add_noise(clean, noise, timesteps[i + 1 : i + 2]))
    assert all(torch.isfinite(x).all() for x in latents), case
    middle = len(denoised) // 2
    tensors = {
        f"{number}/timesteps": scheduler.timesteps.float(),
        f"{number}/whole": torch.cat([last(x) for x in (latents[middle], latents[-1], denoised[middle])]).float(),
        f"{number}/probes": torch.tensor([probe(x) for x in (*latents, *denoised, *mixed)], dtype=torch.float32),
    }
    return tensors, start


def parts():
    """Where diffusers begins and ends parts of a walk."""
    for name, sigmas, steps in (
        ("euler", "default", 25),
        ("euler", "karras", 30),
        ("ddim", "default", 20),
        ("dpmpp_2m", "karras", 17),
        ("heun", "default", 12),
        ("heun", "karras", 13),
        ("dpm2", "default", 15),
        ("dpm2_a", "karras", 16),
        ("pndm", "default", 20),
    ):
        settings = {"skip_prk_steps": True, "timestep_spacing": "leading"}
        case = {"scheduler": name, "sigmas": sigmas, "steps": steps, "settings": settings}
        pipeline = SimpleNamespace(scheduler=build(case, 0))
        timesteps = pipeline.scheduler.timesteps
        for fraction in (0.1, 0.25, 0.5, 0.7, 0.8, 0.9):
            for strength in (0.05, 0.3, 0.77, 1.0):
                cutoff = int(round(1000 - fraction * 1000))
                for_strength, _ = StableDiffusionImg2ImgPipeline.get_timesteps(pipeline, steps, strength, None)
                rest, _ = StableDiffusionXLImg2ImgPipeline.get_timesteps(pipeline, steps, 0.3, None, fraction)
                yield case | {
                    "strength": strength,
                    "strength_start": len(timesteps) - len(for_strength),
                    "fraction": fraction,
                    "fraction_start": len(timesteps) - len(rest),
                    "fraction_end": len(list(filter(lambda t: t >= cutoff, timesteps))),
                }


def brownian_paths():
    """What Brownian paths gain over parts of them: the tree of torchsde as diffusers' DPMSolverSDEScheduler sets it."""
    for seed in (0, 7, 2**32 - 1, 2**40 + 3):
        start, end = 0.029167532920837402, 14.614646911621094
        options = {"tol": 1e-6, "pool_size": 24, "halfway_tree": True}
        path = torchsde.BrownianInterval(start, end, (4, 4, 4), torch.float32, entropy=seed, **options)
        for part in ((start, end), (5.25, end), (0.6529, 3.1007123), (2.0, 2.0001), (start, 0.03), (7.3219075, 7.3219085)):
            yield {"seed": seed, "start": start, "end": end, "from": part[0], "to": part[1]}, path(*part)[None]


@torch.no_grad()
def trajectories(pipeline):
    """Writes the two files, with the network and the text encoder of `pipeline`."""
    ids = pipeline.tokenizer("a red house", padding="max_length", max_length=77, return_tensors="pt").input_ids
    context = pipeline.text_encoder(ids).last_hidden_state

    def network(sample, t):
        return pipeline.unet(sample, t, context).sample

    tensors, listed = {"context": context}, []
    for number, case in enumerate(cases()):
        case.setdefault("seed", number)
        found, start = walk(network, case, number)
        tensors.update(found)
        listed.append({**case, "start": start})
    paths = []
    for number, (path, gain) in enumerate(brownian_paths()):
        tensors[f"brownian/{number}"] = last(gain)
        paths.append(path)
    save_file(tensors, HERE / "trajectories.safetensors")
    paths = ",\n".join(json.dumps(path) for path in paths)
    lines = ",\n".join(json.dumps(case) for case in listed)
    cuts = ",\n".join(json.dumps(part) for part in parts())
    text = f'{{"trained": {json.dumps(TRAINED)},\n"walks": [\n{lines}\n],\n"parts": [\n{cuts}\n],\n"paths": [\n{paths}\n]}}\n'
    (HERE / "trajectories.json").write_text(text)
    print(len(listed), "trajectories")
