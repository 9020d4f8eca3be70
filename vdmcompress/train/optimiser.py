"""Muon for the convolutions, AdamW for everything else.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers"): momentum, orthogonalised by five
Newton-Schulz steps, so that every direction of a weight matrix learns at the same rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from vdmcompress.network import Graph


def orthogonalise(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearest semi-orthogonal matrix, roughly, of a matrix (out, in), by quintic Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x: torch.Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon over convolution weights (out, in, h, w), flattened to (out, in*h*w)."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update; gradients must be there."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                buffer = state.setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"]).flatten(1)
                update = orthogonalise(update).view_as(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[0] / update[0].numel()) ** 0.5)


def make_optimisers(
    model: Graph, lr_muon: float, lr_adam: float, decay_muon: float, more: Iterable[nn.Parameter] = ()
) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' convolutions, AdamW for everything else and for `more` parameters."""
    blocks = [*model.a, *model.b]
    taken = {id(p) for p in blocks}
    slow = {id(model.linear)}
    rest = [p for p in model.parameters() if id(p) not in taken and id(p) not in slow]
    rest += more
    adam = torch.optim.AdamW(
        [
            {"params": rest, "lr": lr_adam, "factor": 1.0},
            {"params": [model.linear], "lr": lr_adam / 4, "factor": 0.25},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
    )
    return [Muon(blocks, lr_muon, 0.95, decay_muon), adam]


def set_rates(optimisers: list[torch.optim.Optimizer], lr_muon: float, lr_adam: float, scale: float) -> None:
    """Set the learning rates for the next step."""
    muon, adam = optimisers
    for group in muon.param_groups:
        group["lr"] = lr_muon * scale
    for group in adam.param_groups:
        group["lr"] = lr_adam * scale * group["factor"]
