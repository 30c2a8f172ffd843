"""Single-file checkpoints in the original layout: what each tensor of diffusers is called there.

For every model in `worker/data/checkpoints`, and for every tiny pipeline beside this file, it lists the original
tensors with their shapes, and for each tensor of diffusers where it lies in them. diffusers' own `from_single_file`
converters must turn the original tensors back into exactly those of diffusers. No weights are needed: the networks are
made on the meta device.
"""

import gzip
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "worker" / "data"
PUBLISHED = DATA / "checkpoints"

UNET, VAE = "model.diffusion_model.", "first_stage_model."
UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def split(name):
    """The module, and whether it is the weight or the bias."""
    return name.rsplit(".", 1)


def unet_name(name, config, has_attention):
    """The original name; `has_attention(block)` says it of a block on the way up."""
    layers = config["layers_per_block"]
    count = len(config["block_out_channels"])
    layers = [layers] * count if isinstance(layers, int) else layers
    down = [1 + sum(n + 1 for n in layers[:block]) for block in range(count)]
    up = [sum(n + 1 for n in layers[::-1][:block]) for block in range(count)]
    module, end = split(name)
    if module in UNET_TOP:
        return f"{UNET_TOP[module]}.{end}"
    parts = module.split(".")
    if parts[0] == "mid_block":
        place = "middle_block." + {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}[".".join(parts[1:3])]
        kind, rest = parts[1], ".".join(parts[3:])
    else:
        block, kind, layer, rest = int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
        if kind == "downsamplers":
            return f"input_blocks.{down[block] + layers[block]}.0.op.{end}"
        if kind == "upsamplers":
            last = up[block] + layers[::-1][block]
            return f"output_blocks.{last}.{2 if has_attention(block) else 1}.conv.{end}"
        first = {"down_blocks": ("input_blocks", down), "up_blocks": ("output_blocks", up)}[parts[0]]
        place = f"{first[0]}.{first[1][block] + layer}.{0 if kind == 'resnets' else 1}"
    return f"{place}.{UNET_RESNET[rest] if kind == 'resnets' else rest}.{end}"


def vae_name(name, levels):
    module, end = split(name)
    parts = module.split(".")
    if len(parts) <= 2:
        return f"{module.replace('conv_norm_out', 'norm_out')}.{end}"
    side, place, kind = parts[:3]
    if place == "mid_block":
        if kind == "attentions":
            return f"{side}.mid.attn_1.{VAE_ATTENTION['.'.join(parts[4:])]}.{end}"
        return f"{side}.mid.block_{int(parts[3]) + 1}.{parts[4].replace('conv_shortcut', 'nin_shortcut')}.{end}"
    level = int(kind) if place == "down_blocks" else levels - 1 - int(kind)
    place = f"{side}.{place.removesuffix('_blocks')}.{level}"
    if parts[3] in ("downsamplers", "upsamplers"):
        return f"{place}.{parts[3].removesuffix('rs')}.conv.{end}"
    return f"{place}.block.{parts[4]}.{parts[5].replace('conv_shortcut', 'nin_shortcut')}.{end}"


def open_clip_names(name):
    """The original name, and which third of its rows it is."""
    if name == "text_projection.weight":
        return "text_projection", None
    name = name.removeprefix("text_model.")
    if name in OPEN_CLIP:
        return OPEN_CLIP[name], None
    module, end = split(name)
    _, _, number, module = module.split(".", 3)
    place = f"transformer.resblocks.{number}"
    if module in OPEN_CLIP_LAYER:
        return f"{place}.{OPEN_CLIP_LAYER[module]}.{end}", None
    third = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj").index(module)
    return f"{place}.attn.in_proj_{end}", third


class Listing:
    """What a checkpoint holds (`original`), and where the tensors of diffusers are in it (`rows`)."""

    def __init__(self):
        self.original, self.rows = {}, []

    def add(self, component, name, shape, original, original_shape, third=None):
        expected = self.original.setdefault(original, list(original_shape))
        assert expected == list(original_shape), original
        self.rows.append([component, name, list(shape), original, third])

    def meta(self):
        return {name: torch.empty(shape, device="meta") for name, shape in self.original.items()}

    def check(self, converted, component):
        """diffusers must find the same tensors."""
        rows = {name: shape for part, name, shape, *_ in self.rows if part == component}
        converted = {name: list(tensor.shape) for name, tensor in converted.items()}
        assert converted == rows, (component, set(converted) ^ set(rows))


def settings(folder, component, **changes):
    return json.loads((folder / component / "config.json").read_text()) | changes


def shapes(make):
    with torch.device("meta"):
        return {name: list(tensor.shape) for name, tensor in make().state_dict().items()}


def add_unet(listing, folder, **changes):
    config = settings(folder, "unet", **changes)
    tensors = shapes(lambda: UNet2DConditionModel.from_config(config))

    def has_attention(block):
        return any(name.startswith(f"up_blocks.{block}.attentions.") for name in tensors)

    for name, shape in tensors.items():
        listing.add("unet", name, shape, UNET + unet_name(name, config, has_attention), shape)
    # The converter knows no list of layers.
    if isinstance(config["layers_per_block"], int):
        listing.check(single_file_utils.convert_ldm_unet_checkpoint(listing.meta(), config), "unet")


def add_vae(listing, folder):
    config = settings(folder, "vae")
    for name, shape in shapes(lambda: AutoencoderKL.from_config(config)).items():
        is_projection = "attentions" in name and len(shape) == 2
        original = VAE + vae_name(name, len(config["block_out_channels"]))
        listing.add("vae", name, shape, original, [*shape, 1, 1] if is_projection else shape)
    listing.check(single_file_utils.convert_ldm_vae_checkpoint(listing.meta(), config), "vae")


def text_shapes(folder, component):
    config = settings(folder, component)
    kind = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}
    model = kind[config["architectures"][0]]
    tensors = shapes(lambda: model(CLIPTextConfig.from_dict(config)))
    # Newer transformers leave `text_model.` out of the names of the model without projection.
    with_prefix = {name if name.startswith("text_") else f"text_model.{name}": tensors[name] for name in tensors}
    return config, {name: shape for name, shape in with_prefix.items() if not name.endswith("position_ids")}


def add_clip(listing, folder, component, prefix):
    for name, shape in text_shapes(folder, component)[1].items():
        listing.add(component, name, shape, prefix + name, shape)
    listing.check(single_file_utils.convert_ldm_clip_checkpoint(listing.meta()), component)


def add_open_clip(listing, folder, component, prefix):
    config, tensors = text_shapes(folder, component)
    for name, shape in tensors.items():
        original, third = open_clip_names(name)
        fused = shape if third is None else [3 * shape[0], *shape[1:]]
        listing.add(component, name, shape, prefix + original, fused, third)

    class Model:
        pass

    model = Model()
    model.config = CLIPTextConfig.from_dict(config)
    listing.check(single_file_utils.convert_open_clip_checkpoint(model, listing.meta(), prefix), component)
    if "text_projection.weight" not in tensors:
        # SD 2 reads the last layer but one, so that diffusers leaves out the last and the projection.
        layers = config["num_hidden_layers"]
        read, unread = (f"{prefix}transformer.resblocks.{number}." for number in (layers - 1, layers))
        for name, shape in list(listing.original.items()):
            if name.startswith(read):
                listing.original[name.replace(read, unread)] = shape
        listing.original[prefix + "text_projection"] = [config["hidden_size"]] * 2


def listing(folder, encoders, **unet):
    result = Listing()
    add_unet(result, folder, **unet)
    add_vae(result, folder)
    for add, component, prefix in encoders:
        add(result, folder, component, prefix)
    return {"original": result.original, "rows": result.rows}


SD1 = [(add_clip, "text_encoder", "cond_stage_model.transformer.")]
SD2 = [(add_open_clip, "text_encoder", "cond_stage_model.model.")]
SDXL = [
    (add_clip, "text_encoder", "conditioner.embedders.0.transformer."),
    (add_open_clip, "text_encoder_2", "conditioner.embedders.1.model."),
]
REFINER = [(add_open_clip, "text_encoder_2", "conditioner.embedders.0.model.")]


def tokens(prompts):
    """What transformers makes of `prompts` with the published vocabulary and settings."""
    lines = gzip.decompress((DATA / "clip" / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in printable] + [chr(0x100 + n) for n in range(256 - len(printable))]
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    listed = []
    for model, folder in (("sd1", "tokenizer"), ("sd2", "tokenizer"), ("sdxl", "tokenizer_2")):
        folder = PUBLISHED / model / folder
        special = json.loads((folder / "special_tokens_map.json").read_text())
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=special["pad_token"], model_max_length=77)
        for prompt in prompts:
            ids = tokenizer(prompt, padding="max_length", max_length=77, truncation=True).input_ids
            listed.append([model, folder.name, prompt, ids])
    return listed


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    (HERE / name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main(prompts):
    write("clip_tokens.json.gz", tokens(prompts))
    listings = {
        "sd1": listing(PUBLISHED / "sd1", SD1),
        "sd1-inpainting": listing(PUBLISHED / "sd1-inpainting", SD1),
        "sd2": listing(PUBLISHED / "sd2", SD2),
        "sd2-inpainting": listing(PUBLISHED / "sd2-inpainting", SD2),
        "sdxl": listing(PUBLISHED / "sdxl", SDXL),
        "sdxl-inpainting": listing(PUBLISHED / "sdxl", SDXL, in_channels=9),
        "sdxl-refiner": listing(PUBLISHED / "sdxl-refiner", REFINER),
    }
    # Not sdxl: diffusers' converter takes the projection of its second encoder for square.
    for name, encoders in (("sd1", SD1), ("sd2", SD2)):
        listings[f"tiny-{name}"] = listing(HERE / name, encoders)
    for name, found in listings.items():
        print(name, len(found["original"]), "original tensors,", len(found["rows"]), "in diffusers")
    write("single_file.json.gz", listings)
