"""The distributions of a chain of latents z_0 .. z_T as bins: what `coding` pushes and pops.

Level t lives on the grid delta_t Z with delta_t a fixed share of the conditional standard deviation.
Rounding to it adds delta_t^2 / 12 of variance, which is taken off the Gaussian that is coded, so that z_t
given x keeps the variance sigma_t^2 and the bound is that of the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codec.gaussian import Bins
from codec.tables import shape_table
from vdmcompress.vdm32.parameterisation import Denoise
from vdmcompress.vdm32.process import Step, alpha, sigma
from vdmcompress.vdm32.variance import VarianceKind, ratio

Order = Literal["bottom-up", "top-down"]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

WINDOW = 9  # standard deviations on either side that a posterior can take
REACH = 14  # standard deviations beyond the brightest and darkest x that a latent may lie away


@cache
def _factor_table(factor16: int) -> npt.NDArray[np.int32]:
    """The normal distribution stretched by factor16 / 16."""
    return shape_table(np.array([1 << 16]), np.array([factor16]))[None]


@cache
def exact_scale(deviation: float) -> tuple[int, int]:
    """Scale index and factor in sixteenths whose product is nearest to a standard deviation in bins.

    The coder's scales are an eighth of an octave apart, which would cost 0.001 bit for each of T latents;
    together with a stretched table they are missed by less than 0.4 %, which costs nothing.
    """
    wanted = np.log2(deviation)
    factors = np.arange(16, 129)
    index = np.rint(8.0 * (wanted - np.log2(factors / 16.0)) + 32.0)
    miss = np.abs((index - 32.0) / 8.0 + np.log2(factors / 16.0) - wanted)
    best = int(np.where((index >= 0) & (index <= 127), miss, np.inf).argmin())
    return int(index[best]), int(factors[best])


@dataclass(frozen=True, eq=False)
class ChainCoder:
    """A denoiser, the levels of noise that its chain visits, and how their latents are coded.

    gammas: rising, float64 (T + 1,).  share: delta_t over the smaller of the two conditional standard
    deviations that level t is coded with, at most 1.5.  variance: of p; 'scalar' needs mse (T,).  channels,
    height, width: of an image.

    Raises:
        ValueError: gammas do not rise, or a share outside of (0, 1.5].
    """

    denoise: Denoise
    gammas: Tensor
    order: Order = "bottom-up"
    share: float = 0.5
    variance: VarianceKind = "lower"
    mse: Tensor | None = None
    shape: tuple[int, int, int] = (3, 32, 32)
    dtype: torch.dtype = torch.float32
    deltas: F64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check, and fix the grids."""
        if self.gammas.dtype != torch.float64 or not bool((self.gammas[1:] > self.gammas[:-1]).all()):
            raise ValueError("gammas must be float64 and rise from each level to the next")
        if not 0 < self.share <= 1.5:
            raise ValueError(f"share is {self.share}, allowed is more than 0 up to 1.5 standard deviations")
        step = Step(self.gammas[:-1], self.gammas[1:])
        up = torch.cat((torch.sigmoid(self.gammas[:1]), step.forward_variance))
        down = torch.cat((step.posterior_variance, up[-1:]))
        deltas = self.share * torch.minimum(up, down).sqrt()
        object.__setattr__(self, "deltas", deltas.numpy())

    @property
    def steps(self) -> int:
        """T."""
        return len(self.gammas) - 1

    # Distributions of level i, as bins.

    def step(self, i: int) -> Step:
        return Step(self.gammas[i - 1], self.gammas[i])

    def _bins(self, i: int, mean: F64, variance: F64, ranged: bool) -> Bins:
        """Bins of level i for means and variance (B, D) or scalar, without the grid's share of the
        variance."""
        delta = float(self.deltas[i])
        means = to_lanes(np.rint(mean / delta * 64.0).astype(np.int32))
        deviation = np.sqrt(variance / delta**2 - 1.0 / 12.0)
        if deviation.ndim == 0:
            index, factor = exact_scale(float(deviation))
            scale, widest = np.full(means.shape, index, np.uint8), float(deviation)
        else:
            nearest = np.clip(np.rint(8.0 * np.log2(deviation) + 32.0), 0, 127).astype(np.uint8)
            scale, factor, widest = to_lanes(nearest), 16, float(deviation.max())
        nothing = np.zeros(1, np.int32)
        couplings = np.zeros((len(means), 3), np.int16)
        if not ranged:
            window = int(np.ceil(WINDOW * widest)) + 1
            return Bins(means, scale, couplings, nothing, nothing, window, _factor_table(factor))
        gamma = self.gammas[i]
        reach = int(np.ceil((float(alpha(gamma)) + REACH * float(sigma(gamma))) / delta)) + 1
        low, count = np.array([-reach], np.int32), np.array([2 * reach + 1], np.int32)
        limit = 64 * reach  # a wild prediction is not an error: its mean is cut to the range of the values
        return Bins(np.clip(means, -limit, limit), scale, couplings, low, count, 0, _factor_table(factor))

    def posterior(self, i: int, x: F64, given: F64 | None) -> Bins:
        """q of level i: bottom-up given z_(i-1), top-down given z_(i+1), by x alone at the order's start."""
        if given is None:
            gamma = self.gammas[i]
            return self._bins(i, float(alpha(gamma)) * x, np.float64(torch.sigmoid(gamma)), False)  # type: ignore[arg-type]
        if self.order == "bottom-up":
            q = self.step(i).forward(torch.from_numpy(given))
        else:
            q = self.step(i + 1).posterior(torch.from_numpy(given), torch.from_numpy(x))
        return self._bins(i, q.mean.numpy(), q.variance.numpy(), False)

    def likelihood(self, i: int, z: F64) -> tuple[Bins, Tensor, Tensor]:
        """p of level i - 1 given z of level i; also the predicted noise (B, D) and rho."""
        step = self.step(i)
        image = torch.from_numpy(z).reshape(-1, *self.shape).to(self.dtype)
        with torch.no_grad():
            prediction = self.denoise(image, self.gammas[i].to(self.dtype).expand(len(image)))
        noise = prediction.noise.double().flatten(1)
        output = None if prediction.variance is None else prediction.variance.double().flatten(1)
        rho = ratio(self.variance, step, output, None if self.mse is None else self.mse[i - 1])
        p = step.reverse(torch.from_numpy(z), noise, rho)
        return self._bins(i - 1, p.mean.numpy(), p.variance.numpy(), True), noise, rho

    def prior(self, batch: int, dimensions: int) -> Bins:
        return self._bins(self.steps, np.zeros((batch, dimensions)), np.float64(1.0), True)  # type: ignore[arg-type]

    def grey(self, i: int, x: I32) -> F64:
        """Values of level i in units of x, (B, D), of lane-ordered bins."""
        return from_lanes(x, -1 if not x.size else x.size // self.dimensions) * float(self.deltas[i])

    @property
    def dimensions(self) -> int:
        return int(np.prod(self.shape))


def needed(coder: ChainCoder) -> int:
    """Bits for an image's lane that are surely enough to borrow from."""
    step = Step(coder.gammas[:-1], coder.gammas[1:])
    first = torch.sigmoid(coder.gammas[0 if coder.order == "bottom-up" else -1 :][:1])
    rest = step.forward_variance if coder.order == "bottom-up" else step.posterior_variance
    grids = coder.deltas if coder.order == "bottom-up" else np.roll(coder.deltas, 1)
    deviations = torch.cat((first, rest)).sqrt().numpy() / grids
    latents = float(np.log2(4.2 * deviations).sum())
    bits = 24.0 + 0.05 * coder.steps if coder.order == "bottom-up" else latents + 8.0
    return int(coder.dimensions * bits)


def to_lanes(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(B, D) to (B D, 1) in the order in which position i belongs to lane i mod B."""
    return np.ascontiguousarray(values.T).reshape(-1, 1)


def from_lanes(values: npt.NDArray[Any], batch: int) -> npt.NDArray[Any]:
    """The inverse of `to_lanes`."""
    return np.ascontiguousarray(values.reshape(-1, batch).T)
