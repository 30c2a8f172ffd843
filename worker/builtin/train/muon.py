"""Muon: momentum whose matrices are made orthogonal before the step.

Keller Jordan's optimizer, with the step scaled to the size of AdamW's as in "Muon is Scalable for LLM Training", so
that both share one learning rate. Convolutions are matrices of outputs by the rest.
"""

import math

import torch


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(average, group["momentum"])
                step = orthogonal(ahead.flatten(1))
                size = 0.2 * math.sqrt(max(step.shape))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(step.view(parameter.shape), alpha=-group["lr"] * size)


def orthogonal(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """About U·Vᵀ of the matrix U·S·Vᵀ, by the quintic Newton-Schulz iteration of the original; bf16 suffices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.T.contiguous() if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)
