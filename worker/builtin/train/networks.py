"""The shapes of all networks, as diffusers and transformers build them.

Channels are multiples of 16, which is what vectorised convolutions like. In f16 everything together is to stay
below `SIZE_LIMIT`; `export` holds it to that.
"""

import math

import torch
from torch import nn

from .norm import use_fast_norms

SIZE_LIMIT = 20_000_000  # bytes of the exported folder
LATENT_CHANNELS = 4
SCALE = 8  # pixels per latent, along each side
TOKENS = 77
TEXT_CHANNELS = 128
TRAIN_TIMESTEPS = 1000


def _diffusers():
    try:
        import diffusers
    except ImportError as error:
        raise SystemExit(
            "The training networks are diffusers' own classes and diffusers is not installed: "
            "pip install -r train/requirements.txt (on a machine without a network: bring the wheels of diffusers "
            f"and importlib_metadata along). Python said: {error}"
        ) from None
    diffusers.utils.logging.set_verbosity_error()
    return diffusers


def new_vae() -> nn.Module:
    """`AutoencoderKL`: RGB `[n, 3, h, w]` in [-1, 1] to latents `[n, 4, h/8, w/8]`."""
    vae = _diffusers().AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT_CHANNELS,
        sample_size=256,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 96, 128),
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )
    return use_fast_norms(vae)


def new_text_encoder(vocabulary: int) -> nn.Module:
    """`CLIPTextModel`: token ids `[n, 77]` to states `[n, 77, 128]`."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_CHANNELS,
        intermediate_size=4 * TEXT_CHANNELS,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        hidden_act="quick_gelu",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        projection_dim=TEXT_CHANNELS,
        # The backward of torch's own attention is slower than matrices on a CPU.
        attn_implementation="eager",
    )
    return CLIPTextModel(config)


def new_unet() -> nn.Module:
    """`UNet2DConditionModel`: noisy latents, timestep and text states to v."""
    unet = _diffusers().UNet2DConditionModel(
        sample_size=256 // SCALE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=(64, 96, 144),
        # Attention on 8 × 8 places alone: enough to say what stands where, at a fraction of the cost.
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_CHANNELS,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    return use_fast_norms(unet)


def new_preview_decoder() -> nn.Module:
    """`AutoencoderTiny`; only its decoder is trained, the encoder is as small as the class allows."""
    return _diffusers().AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(2, 2, 2, 1),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=1.0,
    )


def new_scheduler():
    """Stable Diffusion's own schedule, for v-prediction."""
    return _diffusers().EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=TRAIN_TIMESTEPS,
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="leading",
    )


def alphas_cumprod() -> torch.Tensor:
    """ᾱ of the schedule above, `[1000]` f32."""
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), TRAIN_TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
