"""Noise schedules: monotone functions gamma(t), t in [0, 1], minus the log of the SNR, and their derivatives.

Fixed ones are named after the papers that brought them: linear in gamma (VDM), beta-linear (Ho et al. 2020),
cosine (Nichol and Dhariwal 2021).  `LearnedScalar` and `MonotoneNetwork` have parameters (VDM section 3.1 and
appendix H); `Tabulated` is any rising polygon, the form of an adaptive schedule (Kingma and Gao 2023).  A
schedule is a module, so that `double` and `state_dict` do what they always do.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

GAMMA_MIN, GAMMA_MAX = -13.3, 5.0
"""The ends of VDM's public code."""

ScheduleKind = Literal["linear", "beta-linear", "cosine", "scalar", "network"]


class Schedule(nn.Module):
    """gamma(t) and gamma'(t); t is a tensor of any shape with values in [0, 1]."""

    def gamma(self, t: Tensor) -> Tensor:
        """gamma at t."""
        raise NotImplementedError

    def rate(self, t: Tensor) -> Tensor:
        """The derivative of gamma at t, positive."""
        raise NotImplementedError

    def end(self, t: float) -> Tensor:
        """gamma(t) as a scalar tensor of the default dtype, or of the parameters'."""
        like = next(self.parameters(), next(self.buffers(), None))
        return self.gamma(torch.tensor(t, dtype=torch.get_default_dtype() if like is None else like.dtype))

    def levels(self, steps: int) -> Tensor:
        """gamma(i / T) for i = 0..T, shape (T + 1,)."""
        like = next(self.parameters(), next(self.buffers(), None))
        dtype = torch.get_default_dtype() if like is None else like.dtype
        return self.gamma(torch.linspace(0.0, 1.0, steps + 1, dtype=dtype))


class Linear(Schedule):
    """gamma = gamma_0 + (gamma_1 - gamma_0) t."""

    def __init__(self, gamma_0: float = GAMMA_MIN, gamma_1: float = GAMMA_MAX) -> None:
        super().__init__()
        self.gamma_0, self.gamma_1 = gamma_0, gamma_1

    def gamma(self, t: Tensor) -> Tensor:
        """Linear in t."""
        return self.gamma_0 + (self.gamma_1 - self.gamma_0) * t

    def rate(self, t: Tensor) -> Tensor:
        """Constant."""
        return torch.full_like(t, self.gamma_1 - self.gamma_0)


class BetaLinear(Schedule):
    """alpha^2 = exp(-(1e-4 + 10 t^2)), the linear betas of DDPM in continuous time (VDM appendix B)."""

    def gamma(self, t: Tensor) -> Tensor:
        """log expm1(1e-4 + 10 t^2)."""
        return torch.log(torch.expm1(1e-4 + 10.0 * t**2))

    def rate(self, t: Tensor) -> Tensor:
        """20 t / (1 - alpha^2)."""
        return -20.0 * t / torch.expm1(-(1e-4 + 10.0 * t**2))


class Cosine(Schedule):
    """alpha = cos((t + offset) / (1 + offset) pi / 2), cut off at t <= `last` so that gamma_1 is finite."""

    def __init__(self, offset: float = 0.008, last: float = 0.998) -> None:
        super().__init__()
        self.scale = last * math.pi / 2 / (1.0 + offset)
        self.shift = offset * math.pi / 2 / (1.0 + offset)

    def gamma(self, t: Tensor) -> Tensor:
        """2 log tan of the angle."""
        return 2.0 * torch.log(torch.tan(self.scale * t + self.shift))

    def rate(self, t: Tensor) -> Tensor:
        """4 scale / sin of twice the angle."""
        return 4.0 * self.scale / torch.sin(2.0 * (self.scale * t + self.shift))


class Rescaled(Schedule):
    """Another schedule, its gammas stretched linearly onto the ends gamma_0 and gamma_1."""

    def __init__(self, inner: Schedule, gamma_0: float, gamma_1: float) -> None:
        super().__init__()
        self.inner, self.gamma_0 = inner, gamma_0
        with torch.no_grad():
            ends = inner.gamma(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        self.low, self.factor = float(ends[0]), (gamma_1 - gamma_0) / (ends[1] - ends[0])

    def gamma(self, t: Tensor) -> Tensor:
        """The stretched gamma."""
        stretched: Tensor = self.gamma_0 + self.factor * (self.inner.gamma(t) - self.low)
        return stretched

    def rate(self, t: Tensor) -> Tensor:
        """The stretched derivative."""
        stretched: Tensor = self.factor * self.inner.rate(t)
        return stretched


class Tabulated(Schedule):
    """A polygon through gammas, rising, shape (K + 1,), at t = 0, 1/K, .. 1, or at the times given."""

    gammas: Tensor
    times: Tensor

    def __init__(self, gammas: Tensor, times: Tensor | None = None) -> None:
        super().__init__()
        even = torch.linspace(0.0, 1.0, len(gammas), dtype=gammas.dtype)
        self.register_buffer("gammas", gammas.clone())
        self.register_buffer("times", even if times is None else times.clone())

    def _cell(self, t: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.searchsorted(self.times, t.contiguous(), right=True).clamp(1, len(self.times) - 1) - 1
        slope = (self.gammas[1:] - self.gammas[:-1]) / (self.times[1:] - self.times[:-1])
        return index, slope[index]

    def gamma(self, t: Tensor) -> Tensor:
        """Linear between the points."""
        t = t.to(self.times.dtype)
        index, slope = self._cell(t)
        return self.gammas[index] + slope * (t - self.times[index])

    def rate(self, t: Tensor) -> Tensor:
        """Slope of the cell."""
        return self._cell(t.to(self.times.dtype))[1]


class LearnedScalar(Schedule):
    """gamma = b + |w| t, both learned: VDM's schedule for CIFAR-10 without augmentation."""

    def __init__(self, gamma_0: float = GAMMA_MIN, gamma_1: float = GAMMA_MAX) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor(gamma_0))
        self.w = nn.Parameter(torch.tensor(gamma_1 - gamma_0))

    def gamma(self, t: Tensor) -> Tensor:
        """Linear between the learned ends."""
        return self.b + self.w.abs() * t

    def rate(self, t: Tensor) -> Tensor:
        """|w|."""
        return self.w.abs() * torch.ones_like(t)


class MonotoneNetwork(Schedule):
    """A linear path and n sigmoid units with weights taken absolute, pinned to learned ends.

    g(t) = |w_1| t + b_1 + sum_i |w_3i| sigmoid(|w_2i| g_1(t) + b_2i) / n with g_1 the linear path, and gamma
    = gamma_0 + (gamma_1 - gamma_0) (g(t) - g(0)) / (g(1) - g(0)) (VDM equations 93 and 94).  The ends learn
    from the bound, the inside from the variance of its estimator.  Two departures from the public code: it
    leaves the ends unpinned, and its linear path starts 18 times as steep as all units together; here path
    and units start alike, with the units' thresholds spread over [0, 1], so that hundreds of updates are
    enough.
    """

    def __init__(
        self, gamma_0: float = GAMMA_MIN, gamma_1: float = GAMMA_MAX, units: int = 1024, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.gamma_0, self.gamma_1 = nn.Parameter(torch.tensor(gamma_0)), nn.Parameter(torch.tensor(gamma_1))
        self.w_1, self.b_1 = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))
        steepness = 12.0 + 4.0 * torch.randn(units, generator=generator).clamp(-2.0, 2.0)
        self.w_2 = nn.Parameter(steepness)
        self.b_2 = nn.Parameter(-steepness * torch.rand(units, generator=generator))
        self.w_3 = nn.Parameter(torch.randn(units, generator=generator))

    def inside(self) -> list[nn.Parameter]:
        """The parameters that shape the inside and leave the ends where they are."""
        return [self.w_1, self.b_1, self.w_2, self.b_2, self.w_3]

    def _raw(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """g and its derivative."""
        linear = self.b_1 + self.w_1.abs() * t
        gate = torch.sigmoid(linear.unsqueeze(-1) * self.w_2.abs() + self.b_2)
        share = self.w_3.abs() / len(self.w_3)
        slope = (gate * (1.0 - gate) * self.w_2.abs() * share).sum(-1)
        return linear + (gate * share).sum(-1), self.w_1.abs() * (1.0 + slope)

    def _ends(self) -> tuple[Tensor, Tensor]:
        g, _ = self._raw(torch.tensor([0.0, 1.0], dtype=self.w_1.dtype))
        return g[0], (self.gamma_1 - self.gamma_0) / (g[1] - g[0])

    def gamma(self, t: Tensor) -> Tensor:
        """The network, pinned to the ends."""
        low, factor = self._ends()
        return self.gamma_0 + factor * (self._raw(t)[0] - low)

    def rate(self, t: Tensor) -> Tensor:
        """Its derivative in closed form."""
        return self._ends()[1] * self._raw(t)[1]


def make_schedule(kind: ScheduleKind, gamma_0: float = GAMMA_MIN, gamma_1: float = GAMMA_MAX) -> Schedule:
    """A schedule of a kind between the two ends, learned ones starting there."""
    if kind == "scalar":
        return LearnedScalar(gamma_0, gamma_1)
    if kind == "network":
        return MonotoneNetwork(gamma_0, gamma_1)
    if kind == "linear":
        return Linear(gamma_0, gamma_1)
    return Rescaled(BetaLinear() if kind == "beta-linear" else Cosine(), gamma_0, gamma_1)
