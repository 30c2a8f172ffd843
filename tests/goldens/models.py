"""The tiny pipelines with seeded random weights, in the true layout of each family."""

import functools
import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from schedulers import TRAINED

HERE = Path(__file__).parent
BUILTIN = HERE.parent.parent / "worker" / "builtin" / "model"
# A small vocabulary of the goldens' own, so that new weights of the built-in model leave the tiny models as they are.
TOKENIZER = HERE / "tokenizer"


def seeded(module, seed, dtype):
    """Weights that let every part of a network show in its output, rounded to what the file will hold."""
    generator = torch.Generator().manual_seed(seed)

    def normal(p):
        return torch.randn(p.shape, generator=generator)

    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("bias"):
                value = 0.1 * normal(p)
            elif p.ndim == 1:
                value = 1 + 0.2 * normal(p)
            elif "embedding.weight" in name:
                value = 0.5 * normal(p)
            else:
                value = normal(p) / p[0].numel() ** 0.5
            p.copy_(value.to(dtype).float())
    return module.eval()


def write_model(name, text, unet, vae, scheduler, dtype):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    text, unet, vae = (seeded(module, seed, dtype) for seed, module in enumerate((text, unet, vae)))
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    pipeline = StableDiffusionPipeline(vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)
    for part, module in (("text_encoder", text), ("unet", unet), ("vae", vae)):
        module.to(dtype).save_pretrained(folder / part)
        module.float()
    scheduler.save_pretrained(folder / "scheduler")
    # Read back, so that diffusers takes every key for chosen, as it does for whoever reads the folder.
    pipeline.scheduler = type(scheduler).from_pretrained(folder / "scheduler")
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.0"}
    (folder / "model_index.json").write_text(json.dumps(index) + "\n")
    (folder / "tokenizer").mkdir()
    return folder, pipeline


def copy_tokenizer(folder, *names):
    for name in names:
        shutil.copy(TOKENIZER / name, folder / "tokenizer" / name)


def rename(path, to, change):
    """Rewrites a weights file under other tensor names."""
    tensors = {change(name): tensor for name, tensor in load_file(path).items()}
    path.unlink()
    save_file(tensors, to)


def text_encoder(**settings):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=644,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            projection_dim=32,
            **settings,
        )
    )


def vae(**settings):
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        sample_size=64,
        **settings,
    )


def sd1():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    scheduler = DDIMScheduler.from_config(TRAINED)
    folder, pipeline = write_model("sd1", text_encoder(hidden_act="quick_gelu"), unet, vae(), scheduler, torch.float16)
    copy_tokenizer(folder, "tokenizer.json", "tokenizer_config.json")
    file = folder / "text_encoder" / "model.safetensors"
    rename(file, file, lambda name: "text_model." + name.removeprefix("text_model."))
    return pipeline


def sd2():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 12),
        layers_per_block=(1, 2, 1),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4, 3),
        transformer_layers_per_block=(1, 2, 1),
        use_linear_projection=True,
        norm_num_groups=4,
    )
    scheduler = DPMSolverMultistepScheduler.from_config(TRAINED, prediction_type="v_prediction", use_karras_sigmas=True)
    text = text_encoder(hidden_act="gelu")
    folder, pipeline = write_model("sd2", text, unet, vae(layers_per_block=2), scheduler, torch.bfloat16)
    copy_tokenizer(folder, "vocab.json", "merges.txt")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "!"}
    (folder / "tokenizer" / "special_tokens_map.json").write_text(json.dumps(special) + "\n")
    pipeline.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=77)
    file = folder / "text_encoder" / "model.safetensors"
    rename(file, file, lambda name: name.removeprefix("text_model."))
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def older(name):
        for new, legacy in old.items():
            name = name.replace(new, legacy)
        return name

    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    rename(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"), older)
    return pipeline


CROSS_ATTENDS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
# The coarsest level attends and the finest does not, as in SDXL.
COARSE_ATTENDS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
# As published with SDXL.
SDXL_SCHEDULER = {
    **TRAINED,
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "skip_prk_steps": True,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
# As published with LCM Dreamshaper v7.
LCM_SCHEDULER = {
    **TRAINED,
    "original_inference_steps": 50,
    "prediction_type": "epsilon",
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "timestep_scaling": 10.0,
    "timestep_spacing": "leading",
}


def small_text_encoder(kind=CLIPTextModel, **settings):
    return kind(
        CLIPTextConfig(
            vocab_size=644,
            intermediate_size=32,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=0,
            pad_token_id=1,
            **settings,
        )
    )


def small_vae(**settings):
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        sample_size=64,
        **settings,
    )


def pooled_text_encoder():
    # The published encoders say that a prompt ends with token 2, which means the highest id.
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "projection_dim": 12}
    return small_text_encoder(CLIPTextModelWithProjection, hidden_act="gelu", eos_token_id=2, **sizes)


def write_pipeline(name, pipeline, dtype):
    """Saves a pipeline in `dtype`, then reads it back in f32, as whoever finds the folder does."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    parts = [pipeline.vae, pipeline.unet, pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)]
    for seed, module in enumerate(parts):
        if module is not None:
            seeded(module, 10 + seed, dtype).to(dtype)
    pipeline.save_pretrained(folder)
    for tokenizer in ("tokenizer", "tokenizer_2"):
        if getattr(pipeline, tokenizer, None) is not None:
            write_tokenizer(folder / tokenizer, pad="!" if tokenizer == "tokenizer_2" else "<|endoftext|>")
    index = folder / "model_index.json"
    listed = json.loads(index.read_text())
    if name.startswith("sdxl"):
        listed["add_watermarker"] = None
    index.write_text(json.dumps(listed, indent=2) + "\n")
    loaded = type(pipeline).from_pretrained(folder, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def write_tokenizer(folder, pad):
    """The published layout, of before transformers wrote `tokenizer.json`."""
    shutil.rmtree(folder)
    folder.mkdir()
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(TOKENIZER / file, folder)
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps({**special, "pad_token": pad}) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **special, "pad_token": pad}) + "\n")


def tokenizer(pad="<|endoftext|>"):
    return CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=pad)


def sdxl():
    text = small_text_encoder(hidden_size=24, num_hidden_layers=3, hidden_act="quick_gelu", eos_token_id=1)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 8),
        layers_per_block=1,
        cross_attention_dim=24 + 16,
        attention_head_dim=(1, 2),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=12 + 6 * 8,
        norm_num_groups=2,
        **COARSE_ATTENDS,
    )
    pipeline = StableDiffusionXLPipeline(
        small_vae(scaling_factor=0.13025),
        text,
        pooled_text_encoder(),
        tokenizer(),
        tokenizer("!"),
        unet,
        EulerDiscreteScheduler.from_config(SDXL_SCHEDULER),
        force_zeros_for_empty_prompt=True,
    )
    return write_pipeline("sdxl", pipeline, torch.float16)


def sdxl_refiner():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=(1, 2, 4),
        transformer_layers_per_block=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=12 + 5 * 8,
        norm_num_groups=2,
    )
    pipeline = StableDiffusionXLImg2ImgPipeline(
        small_vae(scaling_factor=0.13025),
        None,
        pooled_text_encoder(),
        None,
        tokenizer("!"),
        unet,
        EulerDiscreteScheduler.from_config(SDXL_SCHEDULER),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )
    return write_pipeline("sdxl_refiner", pipeline, torch.float16)


def sd_parts(unet, vae):
    text = small_text_encoder(hidden_size=16, num_hidden_layers=2, hidden_act="quick_gelu", eos_token_id=2)
    return {"vae": vae, "text_encoder": text, "tokenizer": tokenizer(), "unet": unet} | {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def inpaint():
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=9,
        block_out_channels=(8, 8),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
        **CROSS_ATTENDS,
    )
    scheduler = DDIMScheduler.from_config(TRAINED)
    pipeline = StableDiffusionInpaintPipeline(**sd_parts(unet, small_vae()), scheduler=scheduler)
    return write_pipeline("inpaint", pipeline, torch.float16)


def lcm():
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 8),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        time_cond_proj_dim=10,
        norm_num_groups=2,
        **CROSS_ATTENDS,
    )
    scheduler = LCMScheduler.from_config(LCM_SCHEDULER)
    pipeline = LatentConsistencyModelPipeline(**sd_parts(unet, small_vae()), scheduler=scheduler)
    return write_pipeline("lcm", pipeline, torch.float16)


# Every tiny pipeline by the name of its folder, each made once.
MODELS = {model.__name__: functools.cache(model) for model in (sd1, sd2, sdxl, sdxl_refiner, inpaint, lcm)}


def last(x):
    """Channels last."""
    return x.permute(0, 2, 3, 1).contiguous()
