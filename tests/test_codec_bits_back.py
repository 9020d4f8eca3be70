"""The chain: round trips, rates, the lag of strips, the ledger, the cheating model."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from roundtrip import random_stack

from codec import adaptive, gaussian
from codec.ans import Stack
from codec.bits_back import Ledger, decode, encode
from codec.codecs import diffusion
from codec.errors import ShortStackError
from codec.gaussian import Bins, code_length

LOW, COUNT = -400, 801


@dataclass
class GaussianChain:
    """Independent values with every conditional exact and every scale on the grid: a model that is the truth.

    z_0 ~ N(0, 16^2); each z_k adds noise of the variance that z_(k-1) has, so that z_k has variance 2^k 16^2,
    and z_(k-1) given z_k is N(z_k / 2, half of z_(k-1)'s variance).
    """

    levels: int
    height: int = 12
    width: int = 10
    components: int = 3
    strip_rows: int = 4
    seen: list = field(default_factory=list)
    stack: Stack | None = None
    adapts: bool = False

    @property
    def strips(self):
        return [
            slice(y, min(y + self.strip_rows, self.height)) for y in range(0, self.height, self.strip_rows)
        ]

    def bins(self, mean64, scale, rows):
        mean = self.gather(mean64, rows)
        count = np.full(self.components, COUNT << self.levels, np.int32)
        return Bins.ranged(mean, np.full_like(mean, scale, np.uint8), -(count // 2), count)

    def posterior(self, k, z_below, rows):
        mean = self.gather(z_below * 64, rows)
        scale = 64 + 4 * (k - 1)
        return Bins.windowed(mean, np.full_like(mean, scale, np.uint8), 8 << ((scale - 25) // 8))

    def likelihood(self, k, z_k, rows):
        if self.stack is not None:
            self.seen.append((k, self.stack.bits))
        if k == self.levels:
            return self.bins(self.blank(), 64 + 4 * (k - 1), rows)
        return self.bins(z_k * 32, 60 + 4 * (k - 1), rows)

    def gather(self, z, rows):
        part = z[:, rows]
        return np.ascontiguousarray(part.reshape(len(part), -1).T.astype(np.int32))

    def scatter(self, z, rows, x):
        z[:, rows] = x.T.reshape(z[:, rows].shape)

    def blank(self):
        return np.zeros((self.components, self.height, self.width), np.int32)

    def data(self, seed=0):
        shape = self.blank().shape
        return np.clip(np.rint(np.random.default_rng(seed).normal(0, 16, shape)), -300, 300).astype(np.int32)


class BlurredChain(GaussianChain):
    """Its likelihood looks up and down by a whole strip, as far as the contract allows."""

    def likelihood(self, k, z_k, rows):
        if z_k is not None:
            padded = np.pad(z_k, ((0, 0), (self.strip_rows, self.strip_rows), (0, 0)))
            z_k = (padded[:, : self.height] + padded[:, 2 * self.strip_rows :] + z_k) // 3
        return super().likelihood(k, z_k, rows)


class AdaptingChain(BlurredChain):
    """Its statistics adapt within a strip."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options, adapts=True)


class PartialChain(GaussianChain):
    """The last column and the last row are missing: never coded, 0 for the model."""

    def gather(self, z, rows):
        return super().gather(z[:, : self.height - 1, : self.width - 1], rows)

    def scatter(self, z, rows, x):
        super().scatter(z[:, : self.height - 1, : self.width - 1], rows, x)

    def data(self, seed=0):
        z_0 = super().data(seed)
        z_0[:, -1] = 0
        z_0[:, :, -1] = 0
        return z_0


class CheatingChain(GaussianChain):
    """Prior equal to posterior, and data of which the model is certain: it must cost nothing."""

    def posterior(self, k, z_below, rows):
        return self.bins(self.blank(), 70 + k, rows)

    def likelihood(self, k, z_k, rows):
        if k > 1:
            return self.bins(self.blank(), 70 + k - 1, rows)
        known = self.gather(self.data(), rows)
        single = np.ones(3, np.int32)
        exact = Bins.ranged(known * np.int32(64), np.zeros_like(known, np.uint8), single * -400, single * 801)
        self.known_bits = getattr(self, "known_bits", 0.0) + code_length(known, exact)
        return exact


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("chain_class", [GaussianChain, BlurredChain, AdaptingChain, PartialChain])
@pytest.mark.parametrize(("height", "strip_rows"), [(12, 4), (13, 4), (3, 4), (12, 1)])
def test_round_trip(chain_class, levels, height, strip_rows):
    chain = chain_class(levels, height=height, strip_rows=strip_rows)
    z_0 = chain.data()
    stack = random_stack(3, 500)
    before = stack.to_lanes()
    encode(stack, z_0, chain)
    assert stack.to_lanes() != before
    assert (decode(stack, chain) == z_0).all()
    assert stack.to_lanes() == before


@pytest.mark.parametrize(("height", "strip_rows"), [(12, 12), (13, 4)])
def test_strips_adapt_each_from_the_beginning(height, strip_rows):
    """What is pushed is what `adaptive.push` makes of the strips one by one, and differs from plain bins."""
    chain = AdaptingChain(1, height=height, strip_rows=strip_rows)
    z_0 = chain.data() * 2  # sigma is twice what the chain says
    stack, wanted, plain = (random_stack(2, 10) for _ in range(3))
    encode(stack, z_0, chain)
    for strip in chain.strips:
        adaptive.push(wanted, chain.gather(z_0, strip), chain.likelihood(1, None, strip), chain.width)
    assert stack.to_lanes() == wanted.to_lanes()
    encode(plain, z_0, BlurredChain(1, height=height, strip_rows=strip_rows))
    assert stack.bits < plain.bits


def test_latents_adapt_with_p_and_not_with_q():
    """Two levels by hand: q is plain, both p adapt."""
    chain = AdaptingChain(2, height=6, strip_rows=6)
    (strip,), z_0, z_1 = chain.strips, chain.data(), chain.blank()
    stack, wanted = random_stack(2, 500), random_stack(2, 500)
    encode(stack, z_0, chain)
    chain.scatter(z_1, strip, gaussian.pop(wanted, chain.posterior(1, z_0, strip)))
    adaptive.push(wanted, chain.gather(z_0, strip), chain.likelihood(1, z_1, strip), chain.width)
    adaptive.push(wanted, chain.gather(z_1, strip), chain.likelihood(2, None, strip), chain.width)
    assert stack.to_lanes() == wanted.to_lanes()


def test_round_trip_on_an_initial_stack():
    """Direct coding first gives the bits that a chain borrows; at the end of decoding nothing is left."""
    direct, chain = GaussianChain(1), GaussianChain(3)
    stack = Stack.empty(2)
    encode(stack, direct.data(1), direct)
    encode(stack, chain.data(2), chain)
    stack = Stack.from_lanes(stack.to_lanes())
    assert (decode(stack, chain) == chain.data(2)).all()
    assert (decode(stack, direct) == direct.data(1)).all()
    assert stack.is_initial()


def test_an_empty_band_pushes_nothing():
    chain = GaussianChain(3, height=0)
    stack = Stack.empty(2)
    encode(stack, chain.blank(), chain)
    assert stack.is_initial()
    assert decode(stack, chain).shape == (3, 0, 10)
    assert stack.is_initial()


def test_threads_do_not_change_a_bit():
    chain = GaussianChain(3, height=48, width=40, strip_rows=24)
    stacks = []
    for threads in (1, 2):
        stack = random_stack(4, 2000)
        encode(stack, chain.data(), chain, threads=threads)
        stacks.append(stack)
    assert stacks[0].to_lanes() == stacks[1].to_lanes()
    assert (decode(stacks[0], chain, threads=2) == chain.data()).all()


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_true_model_costs_the_marginal_rate_for_any_number_of_latents(levels):
    chain = GaussianChain(levels, height=60, width=50, strip_rows=16)
    z_0 = chain.data()
    stack = random_stack(2, 3000)
    before = stack.bits
    encode(stack, z_0, chain)
    marginal = code_length(chain.gather(z_0, slice(None)), GaussianChain(1).bins(z_0 * 0, 64, slice(None)))
    assert abs(stack.bits - before - marginal) / z_0.size < 2e-3


def test_a_cheating_model_costs_nothing():
    chain = CheatingChain(3, height=60, width=50, strip_rows=16)
    stack = random_stack(2, 3000)
    before, start = stack.bits, stack.to_lanes()
    encode(stack, chain.data(), chain)
    assert abs(stack.bits - before - chain.known_bits) / chain.data().size < 1e-3
    assert chain.known_bits / chain.data().size < 1e-3
    assert (decode(stack, chain) == chain.data()).all()
    assert stack.to_lanes() == start


def test_two_strips_are_owed_at_most():
    """Where p of strip i is asked for, the latents of strips 0..i+1 are popped and i strips are pushed."""
    chain = GaussianChain(2, height=64, width=16, strip_rows=4)
    stack = random_stack(1, 3000)
    chain.stack, before = stack, stack.bits
    encode(stack, chain.data(), chain)
    latent = 0.5 * np.log2(2 * np.pi * np.e * 256) * 3 * 4 * 16  # bits of a strip
    pushed = latent - 0.5 * 3 * 4 * 16  # p's sigma is 2^3.5, q's 2^4
    owed = [before - bits for k, bits in chain.seen if k == 1]
    assert len(owed) == 16
    for i, bits in enumerate(owed):
        assert bits == pytest.approx(min(i + 2, 16) * latent - i * pushed, abs=0.25 * latent)


def test_a_short_stack_raises():
    chain = GaussianChain(2)
    with pytest.raises(ShortStackError):
        encode(Stack.empty(1), chain.data(), chain)
    with pytest.raises(ShortStackError):
        decode(Stack.empty(1), chain)


def test_the_ledger_sums_to_the_stack():
    chain, ledger = GaussianChain(3), Ledger()
    stack = random_stack(2, 700)
    start = stack.bits
    encode(stack, chain.data(1), chain, ledger.scope("first"))
    encode(stack, chain.data(2), chain, ledger.scope("second"))
    assert set(ledger.entries) == {
        (label, k, kind)
        for label in ("first", "second")
        for k, kind in [(1, "q"), (1, "p"), (2, "q"), (2, "p"), (3, "p")]
    }
    assert ledger.bits == pytest.approx(stack.bits - start, abs=1e-6)
    assert all((bits < 0) == (kind == "q") for (_, _, kind), bits in ledger.entries.items())

    back = Ledger()
    decode(stack, chain, back.scope("second"))
    decode(stack, chain, back.scope("first"))
    assert set(back.entries) == set(ledger.entries)
    for key, bits in ledger.entries.items():
        assert back.entries[key] == pytest.approx(-bits, abs=1e-6)


def test_a_chain_is_a_codec():
    chain = BlurredChain(3)
    codec = diffusion(chain)
    stack = random_stack(2, 500)
    before = stack.to_lanes()
    stack, z_0 = codec.pop(codec.push(stack, chain.data()))
    assert (z_0 == chain.data()).all()
    assert stack.to_lanes() == before
