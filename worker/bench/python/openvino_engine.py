"""OpenVINO: the same modules, converted once, in shapes that never change."""

from pathlib import Path

import numpy as np
import openvino as ov
import torch

import networks

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def converted(spec):
    """The model and its inputs; networks are converted once and kept in a file."""
    kept = Path(spec["cache"]) / f"openvino-{spec['work']}.xml"
    core = ov.Core()
    if spec["work"] in ("unet", "vae") and kept.exists():
        tensors = networks.load_file(spec["inputs"])
        inputs = [tensors["x"].permute(0, 3, 1, 2).contiguous()]
        inputs += [tensors["context"]] if spec["work"] == "unet" else []
        model = core.read_model(kept)
    else:
        network, inputs = networks.module(spec)
        with torch.no_grad():
            model = ov.convert_model(network, example_input=inputs)
        if spec["work"] in ("unet", "vae"):
            ov.save_model(model, kept, compress_to_fp16=False)
            model = core.read_model(kept)
    model.reshape({at: ov.PartialShape(list(x.shape)) for at, x in enumerate(inputs)})
    return core, model, [np.ascontiguousarray(x.numpy()) for x in inputs]


def prepare(spec):
    """A function without arguments that computes the case."""
    core, model, inputs = converted(spec)
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[spec["dtype"]],
        "INFERENCE_NUM_THREADS": spec["threads"],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
    }
    compiled = core.compile_model(model, "CPU", settings)

    def compute():
        value = compiled(inputs, share_inputs=True, share_outputs=True)[0]
        return networks.channels_last(torch.from_numpy(value))

    return compute
