"""GroupNorm for training on a CPU.

torch's own backward of `group_norm` runs on one row at a time on CPUs and takes a third of a step; this one is made
of whole-tensor operations. Same numbers, same state-dict keys.
"""

import torch
from torch import nn


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps):
        batch, channels = x.shape[:2]
        grouped = x.reshape(batch, groups, -1)
        variance, mean = torch.var_mean(grouped, dim=2, correction=0, keepdim=True)
        rstd = torch.rsqrt(variance + eps)
        # One multiply-add per element: y = x·scale + shift, both per sample and channel.
        per_channel = channels // groups
        scale = rstd.expand(-1, -1, per_channel).reshape(batch, channels) * weight
        shift = bias - mean.expand(-1, -1, per_channel).reshape(batch, channels) * scale
        shape = (batch, channels) + (1,) * (x.dim() - 2)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        return torch.addcmul(shift.view(shape), x, scale.view(shape))

    @staticmethod
    def backward(ctx, grad):
        x, weight, mean, rstd = ctx.saved_tensors
        batch, channels = x.shape[:2]
        groups, per_channel = ctx.groups, channels // ctx.groups
        flat, flat_grad = x.reshape(batch, channels, -1), grad.reshape(batch, channels, -1)
        size = flat.shape[2]
        sum_grad = flat_grad.sum(2)
        sum_grad_x = (flat_grad * flat).sum(2)
        means = mean.expand(-1, -1, per_channel).reshape(batch, channels)
        rstds = rstd.expand(-1, -1, per_channel).reshape(batch, channels)
        grad_weight = ((sum_grad_x - means * sum_grad) * rstds).sum(0)
        grad_bias = sum_grad.sum(0)
        count = per_channel * size
        grouped_a = (sum_grad * weight).view(batch, groups, -1).sum(2) / count
        grouped_b = (sum_grad_x * weight).view(batch, groups, -1).sum(2) / count
        mean, rstd = mean.view(batch, groups), rstd.view(batch, groups)
        slope = rstd**3 * (grouped_b - mean * grouped_a)
        on_x = -slope
        offset = -rstd * grouped_a + slope * mean

        def expand(value):
            return value[:, :, None].expand(-1, -1, per_channel).reshape(batch, channels, 1)

        grad_x = torch.addcmul(expand(offset), flat_grad, (rstds * weight)[:, :, None])
        grad_x.addcmul_(flat, expand(on_x))
        return grad_x.view_as(x), grad_weight, grad_bias, None, None


class GroupNorm(nn.GroupNorm):
    def forward(self, x):
        if x.is_cuda:
            return super().forward(x)
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)


def use_fast_norms(model: nn.Module) -> nn.Module:
    """Turns every `nn.GroupNorm` of a model into the class above, in place."""
    from .fused import speed_up

    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = GroupNorm
    return speed_up(model)
