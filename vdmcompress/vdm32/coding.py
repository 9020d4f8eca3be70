"""Bits-back coding of images with the chain of latents z_0 .. z_T, through `codec`, in either order.

Bottom-up reads the encoder as q(z_0 | x) prod q(z_t | z_s), top-down as q(z_T | x) prod q(z_s | z_t, x); they
are one joint distribution, so the net length is the same.  What has to be borrowed is not:

    bottom-up                                        top-down
    pop z_0 by q(z_0 | x), push x by p(x | z_0)      pop z_T by q(z_T | x)
    for t = 1..T: pop z_t by q(z_t | z_s),           for t = T..1: pop z_s by q(z_s | z_t, x)
                  push z_s by p(z_s | z_t)           push x by p(x | z_0)
    push z_T by p(z_T)                               for t = 1..T: push z_s by p(z_s | z_t)
                                                     push z_T by p(z_T)

(Bottom-up is the order of Bit-Swap, Kingma et al. 2019.)  The levels' grids are those of `chain`.

Bottom-up, a latent is popped from the very bits that the latent below it has just pushed.  Those are uniform
only as far as p is right, and they belong to the same pixels: with a fixed variance and few steps the popped
noise would come out too wide and correlated.  So `scramble` adds a fixed key stream to the top of the stack
before such a pop.

Images of a batch go through the network together and have a lane of the stack each: lane b is image b.  A
float network gives the same numbers only in the same process with the same batch, so nothing here is for a
file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec.ans import Stack
from codec.bits_back import Ledger
from codec.codecs import categorical
from codec.gaussian import Bins, pop, push
from vdmcompress.vdm32.chain import F64, I32, ChainCoder, from_lanes, to_lanes
from vdmcompress.vdm32.decoder import LEVELS, centres, log_probabilities
from vdmcompress.vdm32.objective import prior
from vdmcompress.vdm32.process import LN2, alpha, sigma

WEIGHT_BITS = 24  # of the decoder's probabilities as integers


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
    run.vlb += (prior(x, coder.gammas[-1]) * coder.dimensions).numpy()
    return Coded(content(stack) - run.start, run.start - run.least, run.vlb, run.ledger)


def decode(coder: ChainCoder, batch: int, stack: Stack) -> Tensor:
    """Pops the images that `encode` pushed, int64 (B, C, H, W), and gives the borrowed bits back."""
    run = _Run(coder, torch.zeros(batch, coder.dimensions, dtype=torch.int64), stack)
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
        return to_lanes(np.rint(z / float(self.coder.deltas[i])).astype(np.int32))

    def _pop(self, i: int, bins: Bins) -> F64:
        return self.coder.grey(i, pop(self.stack, bins))

    def pop_q(self, i: int, given: F64 | None) -> F64:
        with self.ledger.entry(self.stack, i, "q"):
            self._scramble(i, given)
            z = self._pop(i, self.coder.posterior(i, self.x, given))
        self.least = np.minimum(self.least, content(self.stack))
        return z

    def push_q(self, i: int, z: F64, given: F64 | None) -> None:
        with self.ledger.entry(self.stack, i, "q"):
            push(self.stack, self._lanes(i, z), self.coder.posterior(i, self.x, given))
            self._scramble(i, given)

    def _scramble(self, i: int, given: F64 | None) -> None:
        if given is not None and self.coder.order == "bottom-up":
            scramble(self.stack, self.coder.dimensions // 2, i)

    def push_p(self, i: int, below: F64, z: F64) -> None:
        bins, noise, rho = self.coder.likelihood(i, z)
        with self.ledger.entry(self.stack, i, "p"):
            push(self.stack, self._lanes(i - 1, below), bins)
        gamma = self.coder.gammas[i]
        eps = (torch.from_numpy(z) - alpha(gamma) * torch.from_numpy(self.x)) / sigma(gamma)
        self.vlb += self.coder.step(i).kl((eps - noise) ** 2, rho).sum(1).numpy() / LN2

    def pop_p(self, i: int, z: F64) -> F64:
        bins, _, _ = self.coder.likelihood(i, z)
        with self.ledger.entry(self.stack, i, "p"):
            return self._pop(i - 1, bins)

    def push_prior(self, z: F64) -> None:
        top = self.coder.steps
        with self.ledger.entry(self.stack, top + 1, "p"):
            push(self.stack, self._lanes(top, z), self.coder.prior(*z.shape))

    def pop_prior(self) -> F64:
        top = self.coder.steps
        with self.ledger.entry(self.stack, top + 1, "p"):
            return self._pop(top, self.coder.prior(*self.x.shape))

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
        self.levels = torch.from_numpy(from_lanes(symbols, len(z))).long()
        self.x = centres(self.levels.double()).numpy()
