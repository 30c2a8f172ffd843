"""LoRA files of every dialect, and what diffusers draws with them.

lora/*.safetensors   small random LoRAs for the tiny pipeline sd1
lora.safetensors     outputs of its networks with them
lora.json            which files with which weights
lora_names.json      layers of the genuine SD 1.5 and SDXL networks, under their names in the original layout
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.utils import logging
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).parent
FOLDER = HERE / "lora"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
BLOCKS = [
    f"{block}.attentions.0.transformer_blocks.0" for block in ("down_blocks.0", "mid_block", "up_blocks.1")
]
TEXT = [f"text_model.encoder.layers.{i}" for i in range(2)]
# (label, files with weights, whether diffusers 0.42 is the judge of both networks). Where it is not, the merge by hand
# stands alone: of several α diffusers keeps the most frequent, cloneofsimo's files it does not know, and a second
# LoRA makes it forget a text encoder's first.
CASES = [
    ("kohya", [("kohya", 0.7)], True),
    ("kohya_negative", [("kohya", -1.3)], True),
    ("alphas", [("alphas", 0.7)], False),
    ("locon", [("locon", 0.7)], False),
    ("peft", [("peft", 0.7)], True),
    ("old", [("old", 0.7)], True),
    ("cloneofsimo", [("cloneofsimo", 0.7)], False),
    ("two", [("kohya", 0.7), ("old", 0.4)], "unet"),
]


def pipeline():
    unet = UNet2DConditionModel.from_pretrained(HERE / "sd1" / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(HERE / "sd1" / "text_encoder", torch_dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(HERE / "sd1" / "tokenizer")
    return StableDiffusionPipeline(
        None, text.eval(), tokenizer, unet.eval(), None, None, None, requires_safety_checker=False
    )


def matrices(module, rank, generator):
    """Two random matrices whose product is a quarter of the weight's size; for convolutions the second is 1 × 1."""
    weight = module.weight
    down = torch.randn(rank, *weight.shape[1:], generator=generator)
    up = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)
    size = 0.25 * weight.std() / rank**0.5
    return down * size**0.5, up * size**0.5


class Writer:
    """Collects a file's tensors, and for the merge by hand what they mean."""

    def __init__(self, pipe, generator):
        self.networks = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
        self.generator = generator
        self.tensors = {}
        self.changes = []

    def add(self, part, path, rank, down_key, up_key, alpha=None):
        """A change of one layer, whose path has `text_model.` as files do."""
        layer = self.networks[part].get_submodule(path.removeprefix("text_model."))
        down, up = (matrix.half() for matrix in matrices(layer, rank, self.generator))
        self.tensors[down_key], self.tensors[up_key] = down, up
        self.changes.append((part, path, down.float(), up.float(), 1.0 if alpha is None else alpha / rank))

    def write(self, name, metadata=None):
        tensors = {key: tensor.contiguous() for key, tensor in self.tensors.items()}
        save_file(tensors, FOLDER / f"{name}.safetensors", metadata)
        return self.changes


def merge(pipe, changes, weight):
    """Adds weight · α/rank · up · down to the layers."""
    networks = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    for part, path, down, up, scale in changes:
        layer = networks[part].get_submodule(path.removeprefix("text_model."))
        rank = down.shape[0]
        layer.weight += weight * scale * (up.reshape(-1, rank) @ down.reshape(rank, -1)).reshape(layer.weight.shape)


FLAT = {"unet": "lora_unet", "text_encoder": "lora_te"}


def add_flat(writer, part, path, rank, alpha):
    key = f"{FLAT[part]}_{path.replace('.', '_')}"
    writer.add(part, path, rank, f"{key}.lora_down.weight", f"{key}.lora_up.weight", alpha)
    writer.tensors[f"{key}.alpha"] = torch.tensor(alpha).half()


def transformers():
    names = [*(f"attn1.{name}" for name in ATTENTION), "attn2.to_k", "ff.net.0.proj", "ff.net.2"]
    yield from (("unet", f"{block}.{name}") for block in BLOCKS for name in names)
    names = ["self_attn.q_proj", "self_attn.out_proj", "mlp.fc1"]
    yield from (("text_encoder", f"{layer}.{name}") for layer in TEXT for name in names)


def kohya(writer):
    for part, path in transformers():
        add_flat(writer, part, path, 3, 2.0)
    return writer.write("kohya")


def alphas(writer):
    """α and rank differ from layer to layer."""
    for number, (part, path) in enumerate(transformers()):
        add_flat(writer, part, path, 1 + number % 3, float(1 + number % 4))
    return writer.write("alphas")


LOCON = [
    "conv_in",
    "conv_out",
    "time_embedding.linear_1",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.resnets.0.time_emb_proj",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.downsamplers.0.conv",
    "mid_block.resnets.1.conv2",
    "mid_block.attentions.0.proj_out",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
    "up_blocks.0.resnets.0.conv_shortcut",
    "up_blocks.0.upsamplers.0.conv",
]


def locon(writer):
    """Convolutions under kohya's names."""
    for number, path in enumerate(LOCON):
        add_flat(writer, "unet", path, 2 + number % 2, 1.5)
    return writer.write("locon")


def peft(writer):
    """α in the metadata, one layer's own among them."""
    own = "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"
    layers = [("unet", f"{block}.{name}") for block in BLOCKS for name in ("attn1.to_q", "attn2.to_out.0", "attn2.to_v")]
    layers += [("text_encoder", f"{layer}.self_attn.v_proj") for layer in TEXT]
    for part, path in layers:
        key = f"{part}.{path}"
        writer.add(part, path, 4, f"{key}.lora_A.weight", f"{key}.lora_B.weight", 2 if path == own else 6)
    said = {}
    for part, targets, patterns in (("unet", ["to_q", "to_out.0", "to_v"], {own: 2}), ("text_encoder", ["v_proj"], {})):
        settings = {"r": 4, "lora_alpha": 6, "target_modules": targets, "alpha_pattern": patterns, "use_rslora": False}
        said |= {f"{part}.{key}": value for key, value in settings.items()}
    return writer.write("peft", {"format": "pt", "lora_adapter_metadata": json.dumps(said, sort_keys=True)})


def old(writer):
    """diffusers before PEFT: processors in the network, `lora_linear_layer` in the text encoder."""
    for block in BLOCKS:
        for name in ("attn1.to_q", "attn1.to_out.0", "attn2.to_k"):
            key = f"unet.{block}.{name.removesuffix('.0')}_lora".replace(".to_", ".processor.to_")
            writer.add("unet", f"{block}.{name}", 2, f"{key}.down.weight", f"{key}.up.weight")
    for layer in TEXT:
        key = f"text_encoder.{layer}.self_attn.k_proj.lora_linear_layer"
        writer.add("text_encoder", f"{layer}.self_attn.k_proj", 2, f"{key}.down.weight", f"{key}.up.weight")
    return writer.write("old")


def walked(network, classes):
    """Paths of the linear layers below modules of the classes, in torch's own order."""
    for path, module in network.named_modules():
        if type(module).__name__ in classes:
            yield from (f"{path}.{name}" for name, below in module.named_modules() if isinstance(below, torch.nn.Linear))


def as_registered_then(paths):
    """In the trainer's days diffusers registered the way up before the middle, and the feed-forward layers before
    the second attention."""
    blocks = list(dict.fromkeys(path.split(".transformer_blocks.")[0] for path in paths))

    def place(path):
        block, inside = path.split(".transformer_blocks.")
        part = inside.split(".")[1]
        return ("down", "up", "mid").index(path.split("_")[0]), blocks.index(block), ("attn1", "ff", "attn2").index(part)

    return sorted(paths, key=place)


def cloneofsimo(writer):
    unet, text = writer.networks["unet"], writer.networks["text_encoder"]
    orders = {
        "unet": as_registered_then(list(walked(unet, ("Attention", "GEGLU")))),
        "text_encoder": list(walked(text, ("CLIPAttention",))),
    }
    for part, order in orders.items():
        for number, path in enumerate(order):
            writer.add(part, path, 1, f"{part}:{number}:down", f"{part}:{number}:up")
    classes = {"unet": '["CrossAttention", "Attention", "GEGLU"]', "text_encoder": '["CLIPAttention"]'}
    return writer.write("cloneofsimo", classes)


def outputs(pipe, inputs):
    latents = inputs["sd1/unet/even/in"].permute(0, 3, 1, 2)
    unet = pipe.unet(latents, 321.5, inputs["sd1/text/out"]).sample
    return unet.permute(0, 2, 3, 1).contiguous(), pipe.text_encoder(inputs["sd1/text/ids"]).last_hidden_state


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@torch.no_grad()
def lora():
    logging.set_verbosity_error()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    inputs = load_file(HERE / "networks.safetensors")
    generator = torch.Generator().manual_seed(23)
    changes = {
        writer.__name__: writer(Writer(pipeline(), generator)) for writer in (kohya, alphas, locon, peft, old, cloneofsimo)
    }
    base = outputs(pipeline(), inputs)
    tensors = {}
    for label, files, is_read in CASES:
        pipe = pipeline()
        for name, weight in files:
            merge(pipe, changes[name], weight)
        merged = outputs(pipe, inputs)
        if is_read:
            pipe = pipeline()
            for name, _ in files:
                pipe.load_lora_weights(FOLDER / f"{name}.safetensors", adapter_name=name)
            pipe.set_adapters([name for name, _ in files], [weight for _, weight in files])
            judged = outputs(pipe, inputs)
        for index, part in enumerate(("unet", "text")):
            change = relative(merged[index], base[index])
            told = f"{label}/{part}: changes by {change:.2f}"
            assert change > 0.02 or (label, part) == ("locon", "text"), told
            tensors[f"{label}/{part}"] = merged[index]
            if is_read is True or is_read == part:
                difference = relative(merged[index], judged[index])
                told += f", {difference:.1e} from diffusers"
                assert difference < 1e-5, told
                tensors[f"{label}/{part}"] = judged[index]
            print(told)
    save_file(tensors, HERE / "lora.safetensors")
    (HERE / "lora.json").write_text(json.dumps([case[:2] for case in CASES]) + "\n")
    names()


SD15 = {"cross_attention_dim": 768}
SDXL = {
    "cross_attention_dim": 2048,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
# What may stand in one place of an original block.
INNER = ["in_layers.2", "emb_layers.1", "out_layers.3", "skip_connection", "op", "conv", "proj_in", "proj_out"]
INNER += [
    f"transformer_blocks.{block}.{name}"
    for block in (0, 1, 9)
    for name in (*(f"{a}.{to}" for a in ("attn1", "attn2") for to in ATTENTION), "ff.net.0.proj", "ff.net.2")
]
OUTER = ["input_blocks.0.0", "out.2", "time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2"]


def names():
    """Layers with their shapes and their names in the original layout, as diffusers' own conversion pairs them."""
    listed = {}
    for model, config in (("sd15", SD15), ("sdxl", SDXL)):
        with torch.device("meta"):
            unet = UNet2DConditionModel(**config)
        layers = {
            path: list(module.weight.shape)
            for path, module in unet.named_modules()
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        }
        original = original_names(unet, layers)
        listed[model] = [[path, shape, original.get(path)] for path, shape in layers.items() if kept(path)]
        missing = [path for path in layers if kept(path) and path not in original]
        assert not missing, missing[:5]
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    listed["clip_l"] = [
        [f"text_model.{path.removeprefix('text_model.')}", list(module.weight.shape), None]
        for path, module in text.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    lines = [f'"{model}": [\n' + ",\n".join(json.dumps(layer) for layer in layers) + "\n]" for model, layers in listed.items()]
    (HERE / "lora_names.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(sum(map(len, listed.values())), "names of layers")


def kept(path):
    """SDXL repeats itself up to ten times."""
    return not any(f"transformer_blocks.{i}." in path for i in range(2, 9))


def original_names(unet, layers):
    """diffusers' conversion, given every name that could be, finds which one each layer has."""
    places = [f"input_blocks.{i}.{k}" for i in range(1, 12) for k in range(2)]
    places += [f"middle_block.{k}" for k in range(3)]
    places += [f"output_blocks.{i}.{k}" for i in range(12) for k in range(3)]
    found = {}
    config = {**unet.config, "class_embed_type": None}
    count = 3 * len(unet.config["block_out_channels"])
    names = [*OUTER, *(f"{place}.{inner}" for place in places for inner in INNER)]
    names += [f"input_blocks.{i}.0.op" for i in range(3, count, 3)]
    names = [name for name in names if "put_blocks" not in name or int(name.split(".")[1]) < count]
    # An upsampler stands behind the transformer, where its block has one; diffusers would take it from either place.
    attends = ["CrossAttn" in kind for kind in unet.config["up_block_types"]]
    upsamplers = [f"output_blocks.{3 * block + 2}.{1 + attends[block]}.conv" for block in range(len(attends))]
    names = [name for name in names if not name.endswith(".conv") or name in upsamplers]
    checkpoint = {f"model.diffusion_model.{name}.weight": name for name in [*names, "out.0"]}
    checkpoint |= {f"model.diffusion_model.{name}.bias": name for name in [*names, "out.0"]}
    for path, name in convert_ldm_unet_checkpoint(checkpoint, config).items():
        if path.removesuffix(".weight") in layers:
            found[path.removesuffix(".weight")] = name
    return found
