"""Bits-back coding of images with the chain of latents z_0 .. z_T, through `codec`, in either order.

Bottom-up reads the encoder as q(z_0 | x) prod q(z_t | z_s), top-down as q(z_T | x) prod q(z_s | z_t, x); they
are one joint distribution, so the net length is the same.  What has to be borrowed is not:

    bottom-up                                        top-down
    pop z_0 by q(z_0 | x), push x by p(x | z_0)      pop z_T by q(z_T | x)
    for t = 1..T: pop z_t by q(z_t | z_s),           for t = T..1: pop z_s by q(z_s | z_t, x)
                  push z_s by p(z_s | z_t)           push x by p(x | z_0)
    push z_T by p(z_T)                               for t = 1..T: push z_s by p(z_s | z_t)
                                                     push z_T by p(z_T)

(Bottom-up is the order of Bit-Swap, Kingma et al. 2019.)  Level t lives on the grid delta_t Z with delta_t a
fixed share of the conditional standard deviation.  Rounding to it adds delta_t^2 / 12 of variance, which is
taken off the Gaussian that is coded, so that z_t given x keeps the variance sigma_t^2 and the bound is that
of the process.

Bottom-up, a latent is popped from the very bits that the latent below it has just pushed.  Those are uniform
only as far as p is right, and they belong to the same pixels: with a fixed variance and few steps the popped
noise would come out too wide and correlated.  So `scramble` adds a fixed key stream to the top of the stack
before such a pop.

Images of a batch go through the network together and have a lane of the stack each: lane b is image b.  A
float network gives the same numbers only in the same process with the same batch, so nothing here is for a
file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codec.ans import Stack
from codec.bits_back import Ledger
from codec.codecs import categorical
from codec.gaussian import Bins, pop, push
from codec.tables import shape_table
from vdmcompress.vdm32.decoder import LEVELS, centres, log_probabilities
from vdmcompress.vdm32.objective import prior
from vdmcompress.vdm32.parameterisation import Denoise
from vdmcompress.vdm32.process import LN2, Step, alpha, sigma
from vdmcompress.vdm32.variance import VarianceKind, ratio

Order = Literal["bottom-up", "top-down"]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

WINDOW = 9  # standard deviations on either side that a posterior can take
REACH = 14  # standard deviations beyond the brightest and darkest x that a latent may lie away
WEIGHT_BITS = 24  # of the decoder's probabilities as integers


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

    def _step(self, i: int) -> Step:
        return Step(self.gammas[i - 1], self.gammas[i])

    def _bins(self, i: int, mean: F64, variance: F64, ranged: bool) -> Bins:
        """Bins of level i for means and variance (B, D) or scalar, without the grid's share of the
        variance."""
        delta = float(self.deltas[i])
        means = _to_lanes(np.rint(mean / delta * 64.0).astype(np.int32))
        deviation = np.sqrt(variance / delta**2 - 1.0 / 12.0)
        if deviation.ndim == 0:
            index, factor = exact_scale(float(deviation))
            scale, widest = np.full(means.shape, index, np.uint8), float(deviation)
        else:
            nearest = np.clip(np.rint(8.0 * np.log2(deviation) + 32.0), 0, 127).astype(np.uint8)
            scale, factor, widest = _to_lanes(nearest), 16, float(deviation.max())
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

    def _posterior(self, i: int, x: F64, given: F64 | None) -> Bins:
        """q of level i: bottom-up given z_(i-1), top-down given z_(i+1), by x alone at the order's start."""
        if given is None:
            gamma = self.gammas[i]
            return self._bins(i, float(alpha(gamma)) * x, np.float64(torch.sigmoid(gamma)), False)  # type: ignore[arg-type]
        if self.order == "bottom-up":
            q = self._step(i).forward(torch.from_numpy(given))
        else:
            q = self._step(i + 1).posterior(torch.from_numpy(given), torch.from_numpy(x))
        return self._bins(i, q.mean.numpy(), q.variance.numpy(), False)

    def _likelihood(self, i: int, z: F64) -> tuple[Bins, Tensor, Tensor]:
        """p of level i - 1 given z of level i; also the predicted noise (B, D) and rho."""
        step = self._step(i)
        image = torch.from_numpy(z).reshape(-1, *self.shape).to(self.dtype)
        with torch.no_grad():
            prediction = self.denoise(image, self.gammas[i].to(self.dtype).expand(len(image)))
        noise = prediction.noise.double().flatten(1)
        output = None if prediction.variance is None else prediction.variance.double().flatten(1)
        rho = ratio(self.variance, step, output, None if self.mse is None else self.mse[i - 1])
        p = step.reverse(torch.from_numpy(z), noise, rho)
        return self._bins(i - 1, p.mean.numpy(), p.variance.numpy(), True), noise, rho

    def _prior(self, batch: int, dimensions: int) -> Bins:
        return self._bins(self.steps, np.zeros((batch, dimensions)), np.float64(1.0), True)  # type: ignore[arg-type]

    def _grey(self, i: int, x: I32) -> F64:
        """Values of level i in units of x, (B, D), of lane-ordered bins."""
        return _from_lanes(x, -1 if not x.size else x.size // self._dimensions) * float(self.deltas[i])

    @property
    def _dimensions(self) -> int:
        return int(np.prod(self.shape))


@dataclass
class Coded:
    """What the coding of a batch cost, bits (B,) for each image.

    net: growth of the image's lane.  initial: the most that had to be borrowed on the way.  vlb: closed form
    of the bound on the latents that were coded.  ledger: net bits of all images by (level, 'q' | 'p').
    """

    net: F64
    initial: F64
    vlb: F64
    ledger: Ledger


def joined(parts: list[Coded]) -> Coded:
    """The costs of several batches as those of one."""
    ledger = Ledger()
    for part in parts:
        for key, bits in part.ledger.entries.items():
            ledger.entries[key] = ledger.entries.get(key, 0.0) + bits
    net, initial, vlb = (np.concatenate([getattr(p, n) for p in parts]) for n in ("net", "initial", "vlb"))
    return Coded(net, initial, vlb, ledger)


def content(stack: Stack) -> F64:
    """Bits on each lane, float64 (lanes,)."""
    heads: F64 = np.log2(stack.heads.astype(np.float64))
    bits: F64 = (32.0 * stack.sizes + heads - 32.0).astype(np.float64)
    return bits


def filled(lanes: int, bits: int, seed: int) -> Stack:
    """A stack with at least that many random bits on each lane: what a chain borrows from."""
    rng = np.random.default_rng(seed)
    words = -(-bits // 32)
    heads = rng.integers(1 << 32, 1 << 64, lanes, dtype=np.uint64)
    return Stack(heads, rng.integers(0, 1 << 32, (lanes, words), dtype=np.uint32), np.full(lanes, words))


def scramble(stack: Stack, depth: int, key: int) -> None:
    """Exclusive or of the top `depth` words and half heads of every lane with a fixed stream; its own
    inverse.

    Words are keyed by their distance from the bottom, so a stack in the same state is changed the same way.
    """
    lanes = np.arange(stack.lanes)
    rng = np.random.Generator(np.random.Philox(key))
    stream = rng.integers(0, 1 << 32, depth + 1, dtype=np.uint32)
    stack.heads ^= stream[-1].astype(np.uint64)
    for lane, size in zip(lanes, stack.sizes.tolist(), strict=True):
        first = max(0, size - depth)
        stack.words[lane, first:size] ^= stream[np.arange(first, size) % depth]


def needed(coder: ChainCoder) -> int:
    """Bits for an image's lane that are surely enough to borrow from."""
    step = Step(coder.gammas[:-1], coder.gammas[1:])
    first = torch.sigmoid(coder.gammas[0 if coder.order == "bottom-up" else -1 :][:1])
    rest = step.forward_variance if coder.order == "bottom-up" else step.posterior_variance
    grids = coder.deltas if coder.order == "bottom-up" else np.roll(coder.deltas, 1)
    deviations = torch.cat((first, rest)).sqrt().numpy() / grids
    latents = float(np.log2(4.2 * deviations).sum())
    bits = 24.0 + 0.05 * coder.steps if coder.order == "bottom-up" else latents + 8.0
    return int(coder._dimensions * bits)


def encode(coder: ChainCoder, levels: Tensor, stack: Stack) -> Coded:
    """Pushes images, levels int64 (B, C, H, W), each on its lane of a stack of B lanes.

    Raises:
        ShortStackError: the stack does not hold the bits to borrow; `needed` tells how many do.
    """
    run = _Run(coder, levels.flatten(1), stack)
    x = centres(levels.double())
    top = coder.steps
    if coder.order == "bottom-up":
        z = run.pop_q(0, None)
        run.push_x(z)
        for i in range(1, top + 1):
            above = run.pop_q(i, z)
            run.push_p(i, z, above)
            z = above
        run.push_prior(z)
    else:
        latents = [run.pop_q(top, None)]
        for i in range(top - 1, -1, -1):
            latents.append(run.pop_q(i, latents[-1]))
        latents.reverse()
        run.push_x(latents[0])
        for i in range(1, top + 1):
            run.push_p(i, latents[i - 1], latents[i])
        run.push_prior(latents[-1])
    run.vlb += (prior(x, coder.gammas[-1]) * coder._dimensions).numpy()
    return Coded(content(stack) - run.start, run.start - run.least, run.vlb, run.ledger)


def decode(coder: ChainCoder, batch: int, stack: Stack) -> Tensor:
    """Pops the images that `encode` pushed, int64 (B, C, H, W), and gives the borrowed bits back."""
    run = _Run(coder, torch.zeros(batch, coder._dimensions, dtype=torch.int64), stack)
    top = coder.steps
    z = run.pop_prior()
    latents = [z]
    for i in range(top, 0, -1):
        z = run.pop_p(i, latents[-1])
        if coder.order == "bottom-up":
            run.push_q(i, latents.pop(), z)
        latents.append(z)
    run.pop_x(latents[-1])
    if coder.order == "bottom-up":
        run.push_q(0, latents[-1], None)
    else:
        latents.reverse()
        for i in range(top):
            run.push_q(i, latents[i], latents[i + 1])
        run.push_q(top, latents[top], None)
    return run.levels.reshape(batch, *coder.shape)


class _Run:
    """The moves of one coding; latents are float64 (B, D) on their grids."""

    def __init__(self, coder: ChainCoder, levels: Tensor, stack: Stack) -> None:
        self.coder, self.levels, self.stack = coder, levels, stack
        self.x: F64 = centres(levels.double()).numpy()
        self.start = content(stack)
        self.least = self.start.copy()
        self.vlb = np.zeros(len(levels))
        self.ledger = Ledger()

    def _lanes(self, i: int, z: F64) -> I32:
        return _to_lanes(np.rint(z / float(self.coder.deltas[i])).astype(np.int32))

    def _pop(self, i: int, bins: Bins) -> F64:
        return self.coder._grey(i, pop(self.stack, bins))

    def pop_q(self, i: int, given: F64 | None) -> F64:
        with self.ledger.entry(self.stack, i, "q"):
            self._scramble(i, given)
            z = self._pop(i, self.coder._posterior(i, self.x, given))
        self.least = np.minimum(self.least, content(self.stack))
        return z

    def push_q(self, i: int, z: F64, given: F64 | None) -> None:
        with self.ledger.entry(self.stack, i, "q"):
            push(self.stack, self._lanes(i, z), self.coder._posterior(i, self.x, given))
            self._scramble(i, given)

    def _scramble(self, i: int, given: F64 | None) -> None:
        if given is not None and self.coder.order == "bottom-up":
            scramble(self.stack, self.coder._dimensions // 2, i)

    def push_p(self, i: int, below: F64, z: F64) -> None:
        bins, noise, rho = self.coder._likelihood(i, z)
        with self.ledger.entry(self.stack, i, "p"):
            push(self.stack, self._lanes(i - 1, below), bins)
        gamma = self.coder.gammas[i]
        eps = (torch.from_numpy(z) - alpha(gamma) * torch.from_numpy(self.x)) / sigma(gamma)
        self.vlb += self.coder._step(i).kl((eps - noise) ** 2, rho).sum(1).numpy() / LN2

    def pop_p(self, i: int, z: F64) -> F64:
        bins, _, _ = self.coder._likelihood(i, z)
        with self.ledger.entry(self.stack, i, "p"):
            return self._pop(i - 1, bins)

    def push_prior(self, z: F64) -> None:
        top = self.coder.steps
        with self.ledger.entry(self.stack, top + 1, "p"):
            push(self.stack, self._lanes(top, z), self.coder._prior(*z.shape))

    def pop_prior(self) -> F64:
        top = self.coder.steps
        with self.ledger.entry(self.stack, top + 1, "p"):
            return self._pop(top, self.coder._prior(*self.x.shape))

    def _decoder(self, z: F64) -> tuple[Any, Tensor]:
        logs = log_probabilities(torch.from_numpy(z.T.copy()), self.coder.gammas[0])
        weights = torch.round(logs.exp() * (1 << WEIGHT_BITS)).long().numpy()
        return categorical(weights.reshape(-1, LEVELS), (z.size,)), logs

    def push_x(self, z: F64) -> None:
        codec, logs = self._decoder(z)
        levels = self.levels.T
        with self.ledger.entry(self.stack, 0, "p"):
            codec.push(self.stack, levels.reshape(-1).numpy())
        self.vlb -= logs.gather(-1, levels.unsqueeze(-1)).squeeze(-1).sum(0).numpy() / LN2

    def pop_x(self, z: F64) -> None:
        codec, _ = self._decoder(z)
        with self.ledger.entry(self.stack, 0, "p"):
            _, symbols = codec.pop(self.stack)
        self.levels = torch.from_numpy(_from_lanes(symbols, len(z))).long()
        self.x = centres(self.levels.double()).numpy()


def _to_lanes(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(B, D) to (B D, 1) in the order in which position i belongs to lane i mod B."""
    return np.ascontiguousarray(values.T).reshape(-1, 1)


def _from_lanes(values: npt.NDArray[Any], batch: int) -> npt.NDArray[Any]:
    """The inverse of `_to_lanes`."""
    return np.ascontiguousarray(values.reshape(-1, batch).T)
