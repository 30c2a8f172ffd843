"""Drawing with classifier-free guidance, many pictures at a time, as `StableDiffusionPipeline` draws one."""

import torch

from .networks import LATENT_CHANNELS, SCALE, new_scheduler
from .work import Work


def noise(seeds: list[int], width: int, height: int) -> torch.Tensor:
    """Every picture has a seed of its own, so that neither batch size nor device changes what is drawn."""
    shape = (LATENT_CHANNELS, height // SCALE, width // SCALE)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@torch.no_grad()
def sample(
    work: Work,
    unet,
    states: torch.Tensor,
    empty: torch.Tensor,
    steps: int,
    guidance_scale: float,
    seeds: list[int] | None = None,
    width: int = 256,
    height: int = 256,
) -> torch.Tensor:
    """Scaled latents `[n, 4, h/8, w/8]` f32 for text states `[n, 77, c]`; `empty` is `[1, 77, c]`."""
    scheduler = new_scheduler()
    scheduler.set_timesteps(steps, device=work.device)
    start = noise(seeds or list(range(len(states))), width, height).to(work.device)
    latents = start * scheduler.init_noise_sigma
    both = torch.cat([empty.expand(len(states), -1, -1), states])
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        unguided, guided = unet(scaled, timestep, both).sample.float().chunk(2)
        velocity = unguided + guidance_scale * (guided - unguided)
        latents = scheduler.step(velocity, timestep, latents).prev_sample
    return latents
