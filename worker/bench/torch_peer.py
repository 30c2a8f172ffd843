"""torch and diffusers as a peer of the benchmark.

`weights FOLDER` writes seeded weights for FOLDER/unet/config.json, unless they are there.
`serve CASE INPUTS FOLDER OUTPUT THREADS MODE` makes a case ready, then answers each line of its input with seconds:
`run` computes the case once, `write` also writes what came out.
"""

import json
import os
import sys
import time

import torch
from safetensors.torch import load_file, save_file

TIMESTEP = 501


def make_weights(folder):
    from diffusers import UNet2DConditionModel

    path = os.path.join(folder, "unet", "diffusion_pytorch_model.safetensors")
    if os.path.exists(path):
        return
    with open(os.path.join(folder, "unet", "config.json")) as file:
        model = UNet2DConditionModel.from_config(json.load(file))
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in model.state_dict().items():
        values = torch.empty(tensor.shape).normal_(generator=generator)
        if tensor.dim() > 1:
            # Activations keep about their size on the way through.
            state[name] = values / (tensor[0].numel() ** 0.5)
        else:
            # Scales of normalisations are about one, all other vectors small.
            state[name] = 0.02 * values + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    save_file(state, path + ".part")
    os.replace(path + ".part", path)


def ready(case, inputs, folder, channels_last):
    """A function without arguments that computes the case, channels last."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    tensors = load_file(inputs)
    x = tensors["x"]
    if case["work"] == "linear":
        return lambda: torch.nn.functional.linear(x, tensors["weight"], tensors["bias"])
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    if case["work"] == "conv2d":
        weight = tensors["weight"].contiguous(memory_format=layout)
        padding = case["kernel"] // 2
        return lambda: torch.nn.functional.conv2d(x, weight, tensors["bias"], padding=padding).permute(0, 2, 3, 1)
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval().to(memory_format=layout)
    context = tensors["context"]
    return lambda: unet(x, TIMESTEP, encoder_hidden_states=context).sample.permute(0, 2, 3, 1)


def serve(case, inputs, folder, output, threads, mode):
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        compute = ready(json.loads(case), inputs, folder, mode == "channels_last")
        for line in sys.stdin:
            start = time.perf_counter()
            value = compute()
            seconds = time.perf_counter() - start
            if line.strip() == "write":
                save_file({"output": value.contiguous()}, output)
            print(seconds, flush=True)


if __name__ == "__main__":
    {"weights": make_weights, "serve": serve}[sys.argv[1]](*sys.argv[2:])
