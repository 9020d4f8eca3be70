"""Packs of photographs for another machine: the very pixels, and the limit."""

import numpy as np
import pytest
from PIL import Image

from tests.model_support import synthetic
from vdmcompress.train import pack
from vdmcompress.train.data import load_images


def test_packs_hold_the_very_pixels(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(synthetic(i)).save(tmp_path / "in" / f"{i}.png")
    Image.fromarray(synthetic(3)).save(tmp_path / "in" / "3.webp", lossless=True)
    Image.fromarray(synthetic(4)[:60]).save(tmp_path / "in" / "small.png")
    out = tmp_path / "packed" / "pack.npz"
    assert pack.pack([tmp_path / "in"], out, 1 << 20) == (4, 0)
    met = load_images([out.parent])
    for image, index in zip(met, range(4), strict=True):
        np.testing.assert_array_equal(image, synthetic(index))
    assert out.stat().st_size < 0.9 * sum(im.nbytes for im in met)


def test_packs_keep_their_limit(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for i in range(4):
        Image.fromarray(synthetic(i)).save(tmp_path / "in" / f"{i}.png")
    out = tmp_path / "pack.npz"
    pack.main([str(tmp_path / "in"), "-o", str(out), "--limit", "0.1MiB"])
    assert 0 < out.stat().st_size <= 0.1 * 2**20
    printed = capsys.readouterr().out
    (tmp_path / "out").mkdir()
    out.rename(tmp_path / "out" / "pack.npz")
    kept = len(load_images([tmp_path / "out"]))
    assert 0 < kept < 4
    assert f"{kept} images" in printed
    with pytest.raises(SystemExit):
        pack.main([str(tmp_path / "in"), "-o", str(out), "--limit", "1 furlong"])
    assert [pack.size(s) for s in ("45MiB", "1kB", "12", "2 GiB")] == [45 << 20, 1000, 12, 2 << 30]
