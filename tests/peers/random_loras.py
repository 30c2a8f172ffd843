"""Random LoRA files in PEFT's dialect, as diffusers writes them."""

import json

import torch
from safetensors.torch import save_file

TARGETS = {
    "unet": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
    "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
}


def names(base):
    """A LoRA of the UNet alone, and one of all networks."""
    return [f"{base}_unet", f"{base}_all"]


def write(pipeline, base, folder):
    """Writes the two files of the model `base`, whose networks `pipeline` has."""
    for seed, name in enumerate(names(base)):
        generator = torch.Generator().manual_seed(71 + seed)
        parts = ["unet"] if name.endswith("_unet") else ["unet", "text_encoder", "text_encoder_2"]
        tensors, said = {}, {}
        for number, part in enumerate(parts):
            network = getattr(pipeline, part, None)
            if network is None:
                continue
            rank, alpha = 2 + number, 3 + seed
            targets = TARGETS[part.removesuffix("_2")]
            for path, layer in network.named_modules():
                if not isinstance(layer, torch.nn.Linear) or not path.endswith(targets):
                    continue
                key = path if part == "unet" else "text_model." + path.removeprefix("text_model.")
                size = (0.2 * layer.weight.std() / rank**0.5) ** 0.5
                down = size * torch.randn(rank, layer.in_features, generator=generator)
                up = size * torch.randn(layer.out_features, rank, generator=generator)
                tensors[f"{part}.{key}.lora_A.weight"] = down.half()
                tensors[f"{part}.{key}.lora_B.weight"] = up.half()
            said |= {f"{part}.r": rank, f"{part}.lora_alpha": alpha, f"{part}.target_modules": list(targets)}
        metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(said, sort_keys=True)}
        save_file(tensors, folder / f"{name}.safetensors", metadata)
