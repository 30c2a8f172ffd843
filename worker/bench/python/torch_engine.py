"""PyTorch: as it is, with channels last, and compiled by its inductor."""

import torch

import networks


def prepare(spec):
    """A function without arguments that computes the case."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[spec["dtype"]]
    layout = torch.channels_last if "channels_last" in spec["engine"] else torch.contiguous_format
    torch.set_num_threads(spec["threads"])
    network, inputs = networks.module(spec)
    network = network.to(dtype=dtype)
    if layout is torch.channels_last:
        network = network.to(memory_format=layout)
    inputs = tuple(x.to(dtype) for x in inputs)
    if layout is torch.channels_last:
        inputs = tuple(x.contiguous(memory_format=layout) if x.dim() == 4 else x for x in inputs)
    if "compile" in spec["engine"]:
        from torch._inductor import config

        # Weights that never change are laid out once for the CPU's matrix library.
        config.freezing = True
        network = torch.compile(network, dynamic=False)

    @torch.no_grad()
    def compute():
        return networks.channels_last(network(*inputs))

    if "compile" in spec["engine"]:
        compute()
    return compute
