"""Which times a training batch draws, and one sampler of noise levels with three rules.

Low-discrepancy times are one uniform offset and an even grid over the batch (VDM appendix I.1).  The sampler
draws u from a density over even bins of [0, 1] that follows the loss seen so far, and gives the weight 1 /
density that keeps the mean:

    variance     density ~ sqrt(running mean of the squared loss), the optimum that VDM's variance
    minimisation
                 (section 5.3) aims at; `objective.schedule_gradients` is its form by gradient
    adaptive     density ~ running mean of the loss (Kingma and Gao 2023, appendix F)
    importance   density ~ sqrt(mean of the 10 latest squared losses), uniform until every bin has ten, and a
                 uniform share of 0.001 (Nichol and Dhariwal 2021, section 3.3)

They are one idea: where the loss varies little inside a bin, the three densities are the same.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Rule = Literal["variance", "adaptive", "importance"]
RULES: tuple[Rule, ...] = get_args(Rule)
HISTORY = 10
UNIFORM_SHARE = 0.001
"""Improved DDPM's share; the running means take `ADAPTIVE_SHARE`, since they start from little."""
ADAPTIVE_SHARE = 0.05
KEEP = 0.98


def iid(n: int, generator: torch.Generator) -> Tensor:
    """n independent uniform times, (n,)."""
    return torch.rand(n, generator=generator)


def low_discrepancy(n: int, generator: torch.Generator) -> Tensor:
    """n times (u + i / n) mod 1 with one uniform u: each is uniform, together they are even."""
    return (torch.rand(1, generator=generator) + torch.arange(n) / n) % 1.0


class NoiseSampler:
    """Draws times by a rule.

    bins: of [0, 1].  `density` is (bins,) with mean 1; `table` and `load` carry the state through a
    checkpoint.
    """

    def __init__(self, rule: Rule, bins: int = 100) -> None:
        self.rule, self.bins = rule, bins
        self.moment = torch.zeros(bins, dtype=torch.float64)
        self.latest = torch.zeros(bins, HISTORY, dtype=torch.float64)
        self.count = torch.zeros(bins, dtype=torch.int64)

    @property
    def density(self) -> Tensor:
        """Density of each bin, float64 (bins,), mean 1."""
        even = torch.ones(self.bins, dtype=torch.float64)
        if self.rule == "importance":
            if int(self.count.min()) < HISTORY:
                return even
            wanted, share = self.latest.square().mean(1).sqrt(), UNIFORM_SHARE
        else:
            if not bool((self.count > 0).any()):
                return even
            seen = self.count > 0
            moment = torch.where(seen, self.moment, self.moment[seen].mean())
            wanted, share = (moment.sqrt() if self.rule == "variance" else moment), ADAPTIVE_SHARE
        total = wanted.mean()
        return even if float(total) <= 0 else (1 - share) * wanted / total + share * even

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Uniform u (n,) -> times and weights 1 / density, float32 (n,)."""
        density = self.density
        edges = torch.cat((torch.zeros(1, dtype=torch.float64), torch.cumsum(density, 0) / self.bins))
        edges = edges / edges[-1]
        u = u.double()
        index = (torch.searchsorted(edges, u, right=True) - 1).clamp(0, self.bins - 1)
        inside = (u - edges[index]) / (edges[index + 1] - edges[index])
        t = ((index + inside) / self.bins).clamp(0.0, 1.0)
        return t.float(), (1.0 / density[index]).float()

    def update(self, t: Tensor, loss: Tensor) -> None:
        """Takes the losses (n,) met at times (n,), without their weights, into the statistics."""
        index = (t.double() * self.bins).long().clamp(0, self.bins - 1)
        for i, value in zip(index.tolist(), loss.detach().double().tolist(), strict=True):
            self.latest[i, int(self.count[i]) % HISTORY] = value
            moment = value**2 if self.rule == "variance" else max(value, 0.0)
            first = int(self.count[i]) == 0
            self.moment[i] = moment if first else KEEP * self.moment[i] + (1 - KEEP) * moment
            self.count[i] += 1

    def table(self) -> dict[str, Tensor]:
        """The state, tensors by name."""
        return {"moment": self.moment, "latest": self.latest, "count": self.count}

    def load(self, table: dict[str, Tensor]) -> None:
        """Takes up a state that `table` gave."""
        self.moment, self.latest, self.count = (table[name].clone() for name in ("moment", "latest", "count"))
