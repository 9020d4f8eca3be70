"""A memory limit changes tiles, never bytes; what cannot fit is refused before any work."""

import platform
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from tests import model_support
from vdmcompress import api, memory
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.container import pack
from vdmcompress.errors import LimitError
from vdmcompress.header import Header, Kind
from vdmcompress.memory import PROCESS_BYTES, TILES, choose_tile, memory_needed

tiny_model = model_support.tiny_model


def test_the_largest_tile_that_fits_is_taken(tiny_model):
    size = (3000, 4000, 3, tiny_model, 2)
    needs = [memory_needed(*size, tile) for tile in TILES]
    assert needs == sorted(needs, reverse=True)
    assert choose_tile(*size, None) == TILES[0]
    for tile, need in zip(TILES, needs, strict=True):
        assert choose_tile(*size, need) == tile
    with pytest.raises(LimitError, match=rf"4000x3000 takes up to {-(-needs[-1] >> 20)} MiB, allowed are"):
        choose_tile(*size, needs[-1] - 1)


def test_more_pixels_channels_threads_and_views_take_more():
    model = model_support.load_tiny()
    base = memory_needed(1000, 1500, 1, model, 1, 256)
    assert base > PROCESS_BYTES
    assert memory_needed(2000, 1500, 1, model, 1, 256) > base
    assert memory_needed(1000, 1500, 3, model, 1, 256) > base
    assert memory_needed(1000, 1500, 1, model, 4, 256) > base
    assert memory_needed(1000, 1500, 1, replace(model, views=4), 1, 256) > base


def test_the_limit_does_not_alter_the_bytes(tiny_model):
    pixels = model_support.photo(150, 210)
    need = memory_needed(150, 210, 3, tiny_model, 2, TILES[-1])
    assert choose_tile(150, 210, 3, tiny_model, 2, need) == TILES[-1]
    tight = encode_pixels(pixels, tiny_model, 2, memory=need)
    assert tight.lanes == encode_pixels(pixels, tiny_model, 2).lanes
    found = decode_pixels(tight.lanes, 150, 210, 3, tight.plan, tiny_model, 2, memory=need)
    np.testing.assert_array_equal(found, pixels)


def test_a_limit_too_low_is_refused_by_encode_and_decode(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(model_support.DATA))
    pixels, model = model_support.photo(80, 90), model_support.load_tiny()
    encoded = encode_pixels(pixels, model, 1)
    lanes, crc = encoded.lanes, zlib.crc32(pixels.tobytes())
    data = pack(Header(Kind.DIFFUSION, 90, 80, 3, crc, model.hash8, encoded.plan, len(lanes)), lanes)
    np.testing.assert_array_equal(api.decode(data), pixels)
    with pytest.raises(LimitError, match="90x80"):
        api.encode(pixels, model=str(model_support.INTEGER), memory=1 << 20)
    with pytest.raises(LimitError, match="90x80"):
        api.decode(data, memory=1 << 20)


RESIDENT = """
import sys
from vdmcompress.memory import give_back

def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096

blocks = [bytearray(100_000) for _ in range(1000)]
last = bytearray(100_000)
blocks.clear()
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept by the GNU C library only")
def test_memory_that_was_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000


def test_nothing_happens_with_another_c_library(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.give_back()
