"""Goldens of single network calls: `networks.safetensors`, tensors named `{model}/{network}/…`."""

import torch
from safetensors.torch import save_file

from models import HERE, last

PROMPTS = ["a red house in green hills", ""]
TIMESTEP = 321.5
# The text encoders and autoencoders of the others are of the same kinds.
ENCODE = ("sd1", "sd2", "sdxl")


@torch.no_grad()
def networks(pipelines):
    tensors = {}
    for number, (name, pipeline) in enumerate(pipelines.items()):
        generator = torch.Generator().manual_seed(11 + number)
        unet(tensors, f"{name}/unet", pipeline.unet, generator)
        if name in ENCODE:
            vae(tensors, f"{name}/vae", pipeline.vae, generator)
            text(tensors, f"{name}/text", pipeline.text_encoder, pipeline.tokenizer)
    text(tensors, "sdxl/text_2", pipelines["sdxl"].text_encoder_2, pipelines["sdxl"].tokenizer_2)
    # The scales that LCM was trained with, less one. Channels of an odd number end in a zero.
    scales = torch.tensor([0.0, 7.5, 13.0])
    for channels in (256, 11):
        embedding = pipelines["lcm"].get_guidance_scale_embedding(scales, embedding_dim=channels)
        tensors[f"guidance_scale_embedding/{channels}"] = embedding
    for key, value in tensors.items():
        if key.endswith("/out"):
            print(f"{key}: mean {value.mean():.3f}, deviation {value.std():.3f}")
    save_file({key: value.contiguous() for key, value in tensors.items()}, HERE / "networks.safetensors")


def text(tensors, name, encoder, tokenizer):
    """The last state, the pooled prompts of a projection, and what `clip_skip` takes in SD and in SDXL."""
    ids = tokenizer(PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
    said = encoder(ids, output_hidden_states=True)
    tensors[f"{name}/ids"], tensors[f"{name}/out"] = ids.to(torch.int64), said.last_hidden_state
    if "text_embeds" in said:
        tensors[f"{name}/pooled"] = said.text_embeds
    # Of the first prompt: SDXL takes the state before the last layer, SD normalises it as it does the last.
    before_last = said.hidden_states[-2][:1]
    if name.startswith("sdxl"):
        tensors[f"{name}/skip_1"] = before_last
    else:
        tensors[f"{name}/skip_1_normed"] = encoder.final_layer_norm(before_last)


def unet(tensors, name, network, generator):
    config = network.config
    context = torch.randn(2, 5, config.cross_attention_dim, generator=generator)
    tensors[f"{name}/context"] = context
    options = {}
    if config.addition_embed_type == "text_time":
        pooled = torch.randn(2, 12, generator=generator)
        count = (config.projection_class_embeddings_input_dim - 12) // config.addition_time_embed_dim
        time_ids = torch.tensor([[1024, 768, 0, 32, 1024, 1024], [512, 512, 16, 0, 640, 512]])[:, :count].float()
        options["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": time_ids}
        tensors[f"{name}/text_embeds"], tensors[f"{name}/time_ids"] = pooled, time_ids
    if config.time_cond_proj_dim is not None:
        options["timestep_cond"] = torch.randn(2, config.time_cond_proj_dim, generator=generator)
        tensors[f"{name}/guidance"] = options["timestep_cond"]
    # The second size is odd on every level, so that upsampling has to follow the skips.
    for label, size in (("even", (8, 8)), ("odd", (9, 7))):
        latents = torch.randn(2, config.in_channels, *size, generator=generator)
        out = network(latents, TIMESTEP, context, **options).sample
        tensors[f"{name}/{label}/in"], tensors[f"{name}/{label}/out"] = last(latents), last(out)


def vae(tensors, name, network, generator):
    """Latents are scaled, as the pipelines hold them; mean and logvar are the autoencoder's own."""
    scale = network.config.scaling_factor
    latents = torch.randn(1, 4, 5, 3, generator=generator)
    tensors[f"{name}/in"], tensors[f"{name}/out"] = last(latents), last(network.decode(latents / scale).sample)
    # The last rows and columns of the second size fall off a halving.
    for label, size in (("even", (32, 24)), ("odd", (29, 21))):
        pixels = torch.rand(1, 3, *size, generator=generator) * 2 - 1
        posterior = network.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        found = {
            "in": pixels,
            "mean": posterior.mean,
            "logvar": posterior.logvar,
            "noise": noise,
            "sample": (posterior.mean + posterior.std * noise) * scale,
            "mode": posterior.mode() * scale,
        }
        tensors.update({f"{name}/encoder/{label}/{key}": last(value).clone() for key, value in found.items()})
