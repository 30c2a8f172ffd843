"""What training on a CPU is sped up by, where the CPU multiplies bf16 in tiles (AMX).

There convolutions cost so little that a step waits for what lies between them: `norm.c` does GroupNorm and SiLU in
one go, residual blocks leave out what divides by one, and attention multiplies matrices, because the backward of
torch's own is slower than that on a CPU. Same numbers up to rounding, same state-dict keys; `speed_up` changes a
model in place, and without AMX or a C compiler leaves it as it was.
"""

import ctypes
import os
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from .norm import GroupNorm
from .progress import say

_SOURCE = Path(__file__).with_name("norm.c")
_FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-shared", "-fPIC")


def tiles() -> bool:
    """Whether this CPU multiplies bf16 in tiles, which makes it some six times as fast as f32."""
    return torch.cpu._is_amx_tile_supported()


@cache
def _library() -> ctypes.CDLL | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not tiles():
        return None
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sd-worker-train"
    path = folder / f"norm-{sha256(_SOURCE.read_bytes() + ' '.join(_FLAGS).encode()).hexdigest()[:16]}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            subprocess.run([compiler, *_FLAGS, str(_SOURCE), "-o", str(unfinished), "-lm"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"{_SOURCE.name} was not compiled ({error}); training goes on without it, slower.")
            return None
        os.replace(unfinished, path)
    return ctypes.CDLL(str(path))


def _pointers(*tensors: torch.Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _numbers(*values: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(value) for value in values]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, silu):
        x = x.contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = x.shape
        y = torch.empty_like(x)
        means, rstds = torch.empty(batch, groups), torch.empty(batch, groups)
        _library().norm_forward(
            *_pointers(x, weight, bias, y, means, rstds),
            *_numbers(batch, height * width, channels, groups),
            ctypes.c_float(eps),
            ctypes.c_int(silu),
        )
        ctx.save_for_backward(x, weight, bias, means, rstds)
        ctx.groups, ctx.silu = groups, silu
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias, means, rstds = ctx.saved_tensors
        grad = grad.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        batch, channels, height, width = x.shape
        grad_x = torch.empty_like(x)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        _library().norm_backward(
            *_pointers(grad, x, weight, bias, means, rstds, grad_x, grad_weight, grad_bias),
            *_numbers(batch, height * width, channels, ctx.groups),
            ctypes.c_int(ctx.silu),
        )
        return grad_x, grad_weight, grad_bias, None, None, None


class FusedNorm(nn.GroupNorm):
    silu = False

    def forward(self, x):
        if x.dtype == torch.bfloat16 and x.dim() == 4 and not x.is_cuda and _library() is not None:
            return _Norm.apply(x, self.weight, self.bias, self.num_groups, self.eps, self.silu)
        x = GroupNorm.forward(self, x)
        return F.silu(x) if self.silu else x


class FusedNormSilu(FusedNorm):
    silu = True


def norm_silu(groups: int, channels: int) -> nn.Module:
    """GroupNorm and SiLU as one module."""
    return FusedNormSilu(groups, channels)


def _residual(self, x, temb=None, *_arguments, **_named):
    """diffusers' `ResnetBlock2D.forward` for blocks that neither scale nor resize."""
    hidden = self.conv1(self.norm1(x))
    if temb is not None:
        hidden = hidden + self.time_emb_proj(F.silu(temb))[:, :, None, None]
    hidden = self.conv2(self.norm2(hidden))
    return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + hidden


class _Attention:
    """diffusers' `AttnProcessor` for tokens `[n, t, c]` without masks."""

    def __call__(self, attention, states, encoder_hidden_states=None, attention_mask=None, **_named):
        context = states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attention.to_q(states), attention.to_k(context), attention.to_v(context)
        query, key, value = (_heads(part, attention.heads) for part in (query, key, value))
        unread = query.new_empty(1, 1, 1)
        scores = torch.baddbmm(unread, query, key.transpose(1, 2), beta=0, alpha=attention.scale)
        shares = scores.softmax(-1)
        mixed = torch.bmm(shares.to(value.dtype), value)
        batch, count, channels = states.shape
        mixed = mixed.view(batch, attention.heads, count, -1).transpose(1, 2).reshape(batch, count, -1)
        return attention.to_out[0](mixed)


def _heads(tokens, heads):
    """`[n, t, heads · c]` to `[n · heads, t, c]`."""
    batch, count, channels = tokens.shape
    return tokens.view(batch, count, heads, -1).transpose(1, 2).reshape(batch * heads, count, channels // heads)


def speed_up(model: nn.Module) -> nn.Module:
    if _library() is None:
        return model
    from diffusers.models.resnet import ResnetBlock2D

    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = FusedNorm
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            module.norm1.__class__ = module.norm2.__class__ = FusedNormSilu
            module.forward = _residual.__get__(module)
        if hasattr(module, "conv_norm_out"):
            module.conv_norm_out.__class__ = FusedNormSilu
            module.conv_act = nn.Identity()
    if hasattr(model, "set_attn_processor") and model.attn_processors:
        model.set_attn_processor(_Attention())
    return model
