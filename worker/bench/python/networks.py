"""What a case computes, as a module of torch: `module(spec)` gives it and what it is called with."""

import torch
from safetensors.torch import load_file

TIMESTEP = 501


class Denoiser(torch.nn.Module):
    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x, context):
        return self.unet(x, TIMESTEP, encoder_hidden_states=context, return_dict=False)[0]


class Decoder(torch.nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.post_quant_conv, self.decoder, self.scaling = vae.post_quant_conv, vae.decoder, vae.config.scaling_factor

    def forward(self, x):
        return self.decoder(self.post_quant_conv(x / self.scaling))


def module(spec):
    """The module in f32, and its inputs with their channels in the second place."""
    tensors = load_file(spec["inputs"])
    x, work = tensors["x"], spec["work"]
    if work == "linear":
        layer = torch.nn.Linear(spec["inputs_channels"], spec["outputs_channels"])
        return filled(layer, tensors), (x,)
    x = x.permute(0, 3, 1, 2).contiguous()
    if work == "conv2d":
        kernel = spec["kernel"]
        layer = torch.nn.Conv2d(spec["inputs_channels"], spec["outputs_channels"], kernel, padding=kernel // 2)
        return filled(layer, tensors), (x,)
    from diffusers import AutoencoderKL, UNet2DConditionModel

    if work == "vae":
        return owned(Decoder(AutoencoderKL.from_pretrained(spec["model"], subfolder="vae"))), (x,)
    unet = UNet2DConditionModel.from_pretrained(spec["model"], subfolder="unet")
    return owned(Denoiser(unet)), (x, tensors["context"])


def filled(layer, tensors):
    layer.load_state_dict({"weight": tensors["weight"], "bias": tensors["bias"]})
    return layer.eval()


def owned(network):
    """Its weights in memory of its own, and not in a file that is mapped, so that memory is counted alike."""
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    return network.eval()


def channels_last(value):
    """As all engines' outputs are compared."""
    return value.permute(0, 2, 3, 1) if value.dim() == 4 else value
