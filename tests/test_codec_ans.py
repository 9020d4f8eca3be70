"""The stack: content, bytes, errors, independence of copies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundtrip import random_stack

from codec.ans import Stack, over_lanes
from codec.codecs import uniform
from codec.errors import BinsError, ShortStackError, StackFormatError, VdmError


def test_empty_stack_is_initial_and_holds_no_bits():
    stack = Stack.empty(5)
    assert stack.is_initial()
    assert stack.bits == 0.0
    assert stack.lanes == 5
    assert stack.to_lanes() == [(1 << 32).to_bytes(5, "little")] * 5


@pytest.mark.parametrize("lanes", [0, -1, 65537])
def test_number_of_lanes_is_checked(lanes):
    with pytest.raises(BinsError, match=str(lanes)):
        Stack.empty(lanes)


def test_bits_count_words_and_heads():
    stack = Stack(
        np.array([1 << 32, 1 << 50], np.uint64), np.zeros((2, 9), np.uint32), np.array([3, 4], np.int64)
    )
    assert stack.bits == 7 * 32 + 18
    assert not stack.is_initial()


def test_words_below_an_initial_head_are_not_initial():
    stack = Stack(np.array([1 << 32], np.uint64), np.zeros((1, 1), np.uint32), np.array([1], np.int64))
    assert not stack.is_initial()
    assert not Stack.from_lanes([((1 << 32) + 1).to_bytes(5, "little")]).is_initial()


@given(st.lists(st.tuples(st.lists(st.integers(0, 2**32 - 1), max_size=9), st.integers(2**32, 2**64 - 1))))
def test_lanes_are_read_back(parts):
    """Words and a head of 5 to 8 bytes: the length of a lane tells which is which."""
    lanes = [
        b"".join(word.to_bytes(4, "little") for word in words)
        + head.to_bytes((head.bit_length() + 7) // 8, "little")
        for words, head in [*parts, ([7], 2**40 - 1), ([], 2**40)]
    ]
    stack = Stack.from_lanes([memoryview(lane) for lane in lanes])
    assert stack.to_lanes() == lanes
    assert [int(head) for head in stack.heads] == [*(head for _, head in parts), 2**40 - 1, 2**40]
    assert [int(size) for size in stack.sizes] == [*(len(words) for words, _ in parts), 1, 0]


@pytest.mark.parametrize(
    "lane", [b"", b"\1" * 4, ((1 << 32) - 1).to_bytes(5, "little"), (1 << 40).to_bytes(8, "little")]
)
def test_impossible_lanes_are_refused(lane):
    good = (1 << 32).to_bytes(5, "little")
    with pytest.raises(StackFormatError, match="lane 1"):
        Stack.from_lanes([good, lane])
    with pytest.raises(StackFormatError):
        Stack.from_lanes([])


def test_lane_bytes_are_words_then_head_little_endian():
    stack = Stack(
        np.array([0x1122334455667788], np.uint64),
        np.array([[0x0A0B0C0D, 0x01020304, 99]], np.uint32),
        np.array([2], np.int64),
    )
    assert stack.to_lanes()[0].hex() == "0d0c0b0a" + "04030201" + "8877665544332211"


def test_copy_is_independent():
    stack = random_stack(3, 5)
    before = stack.to_lanes()
    copy = stack.copy()
    uniform(0, 1000, (50,)).push(copy, np.arange(50))
    assert stack.to_lanes() == before
    assert copy.to_lanes() != before


def test_reserve_keeps_the_content():
    stack = random_stack(2, 5)
    before = stack.to_lanes()
    stack.reserve(1000)
    assert stack.words.shape[1] >= 1005
    assert stack.to_lanes() == before


@pytest.mark.parametrize("words", [0, 1, 7])
def test_a_stack_never_invents_bits(words):
    """So many pops succeed as the bits bear, and the next one raises."""
    stack = random_stack(1, words)
    codec = uniform(0, 1 << 20, (1,))
    available = stack.bits
    pops = 0
    with pytest.raises(ShortStackError, match="more bits than the stack holds"):
        for _ in range(1000):
            kept = stack.copy()
            codec.pop(stack)
            pops += 1
            assert stack.bits <= available - 19.99 * pops
    assert pops <= available / 20
    assert pops >= math.floor(available / 20) - 1
    assert kept.bits < 20.01


def test_an_initial_stack_cannot_be_popped():
    with pytest.raises(ShortStackError):
        uniform(0, 16, (2,)).pop(Stack.empty(1))


@pytest.mark.parametrize("threads", [0, -3])
def test_number_of_threads_is_checked(threads):
    with pytest.raises(BinsError, match="threads"):
        over_lanes(Stack.empty(1), 1, threads, lambda first, last: 0)


def test_every_lane_is_worked_on_once_whatever_the_threads():
    stack = Stack.empty(7)
    for threads in (1, 2, 3, 50):
        seen = []
        over_lanes(stack, 10**9, threads, lambda first, last, seen=seen: seen.append((first, last)) or 0)
        assert sorted(lane for first, last in seen for lane in range(first, last)) == list(range(7))
        assert len(seen) == min(threads, 7)


def test_an_error_in_any_thread_reaches_the_caller():
    def work(first, last):
        if first > 0:
            raise ZeroDivisionError
        return 0

    with pytest.raises(ZeroDivisionError):
        over_lanes(Stack.empty(4), 10**9, 2, work)
    with pytest.raises(ShortStackError):
        over_lanes(Stack.empty(4), 10**9, 2, lambda first, last: int(first > 0))


def test_exit_codes():
    assert VdmError.exit_code == 1
    assert ShortStackError.exit_code == StackFormatError.exit_code == 3
