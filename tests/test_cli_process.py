"""The whole tool without stand-ins: encode in one process, decode in another, compare pixels."""

import subprocess
import sys

import numpy as np
import pytest

from tests.cli_support import colours, load, save

NOISE = np.random.default_rng(8).integers(0, 256, (21, 34, 3), np.uint8)
IMAGES = {
    "smooth": colours(40, 33),
    "noise": NOISE,
    "grey": np.ascontiguousarray(NOISE[..., 1]),
    "one_colour": np.full((19, 3, 3), 77, np.uint8),
    "pixel": NOISE[:1, :1],
    "tall": NOISE[:, :1],
}


def run(*arguments) -> subprocess.CompletedProcess[str]:
    code = "from cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of IMAGES as PNG, their files in coded/, what these decode to in decoded/."""
    place = tmp_path_factory.mktemp("process")
    paths = [save(pixels, place / f"{name}.png") for name, pixels in IMAGES.items()]
    encode = run("encode", *paths, "-O", place / "coded", "-T", "1")
    assert encode.returncode == 0, encode.stderr
    decode = run("decode", *sorted((place / "coded").iterdir()), "-O", place / "decoded", "-T", "1")
    assert decode.returncode == 0, decode.stderr
    return place


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_equal_in_another_process(folder, name):
    back = load(folder / "decoded" / f"{name}.png")
    assert back.shape == IMAGES[name].shape
    assert np.array_equal(back, IMAGES[name])


def test_nothing_but_the_outputs_is_left(folder):
    for part, suffix in (("coded", ".vdm"), ("decoded", ".png")):
        assert sorted(p.name for p in (folder / part).iterdir()) == sorted(name + suffix for name in IMAGES)


def test_verify_agrees_with_the_original(vdmc, folder):
    result = vdmc("verify", folder / "coded" / "noise.vdm", "--against", folder / "noise.png", "-T", "1")
    assert result.exit_code == 0, result.stderr


def test_a_flipped_bit_is_exit_3(vdmc, folder, tmp_path):
    data = bytearray((folder / "coded" / "noise.vdm").read_bytes())
    data[len(data) // 2] ^= 4
    damaged = tmp_path / "damaged.vdm"
    damaged.write_bytes(data)
    assert vdmc("decode", damaged).exit_code == 3
    assert list(tmp_path.iterdir()) == [damaged]
