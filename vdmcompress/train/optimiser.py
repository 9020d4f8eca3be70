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


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearest semi-orthogonal matrices, roughly, of (..., out, in), by quintic Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x: torch.Tensor = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon over convolution weights (out, in, h, w), flattened to (out, in*h*w).

    dtype: in which Newton-Schulz steps compute, of all weights of a shape together.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of the weights that have gradients."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append((p, p.grad))
            for shape, found in alike.items():
                params, grads = [p for p, _ in found], [grad for _, grad in found]
                buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
                torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
                flat = torch.stack(torch._foreach_lerp(grads, buffers, group["momentum"])).flatten(2)
                updates = orthogonalise(flat.to(self.dtype)).to(flat.dtype).view(-1, *shape)
                size = group["lr"] * max(1.0, shape[0] / flat.shape[2]) ** 0.5
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(params, list(updates * size))


def make_optimisers(
    model: Graph,
    lr_muon: float,
    lr_adam: float,
    decay_muon: float,
    more: Iterable[nn.Parameter] = (),
    dtype: torch.dtype = torch.float32,
    recorded: bool = False,
) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' convolutions, in a dtype, AdamW for everything else and for `more` parameters.

    recorded: rates are tensors on the parameters' device, so that steps can be recorded (`recorded.py`).
    """
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
        capturable=recorded and model.linear.is_cuda,
    )
    muon = Muon(blocks, lr_muon, 0.95, decay_muon, dtype)
    if recorded:
        for group in (*muon.param_groups, *adam.param_groups):
            group["lr"] = torch.tensor(group["lr"], device=model.linear.device)
    return [muon, adam]


def set_rates(optimisers: list[torch.optim.Optimizer], lr_muon: float, lr_adam: float, scale: float) -> None:
    """Set the learning rates for the next step."""
    muon, adam = optimisers
    rates = [(group, lr_muon * scale) for group in muon.param_groups]
    rates += [(group, lr_adam * scale * group["factor"]) for group in adam.param_groups]
    for group, rate in rates:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
