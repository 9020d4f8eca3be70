"""Which subsampling a picture may have had: what is looked at, and what is not worth a look."""

import numpy as np
import pytest

from vdmcompress import chroma_samples
from vdmcompress.chroma_samples import ASKED, BEATEN, SHARE, SURE, likeliest, misfit, shrink
from vdmcompress.subsampling import SUBSAMPLINGS, half_shape, upsample

KINDS = SUBSAMPLINGS["JPEG"]


def smooth(height, width, seed=3):
    """Samples as chroma has them: slopes, an edge and a little noise, uint8 (height, width)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    plane = 90 + y / 3 + 20 * np.sin(x / 9) + 25 * (x > width // 2) + rng.integers(-2, 3, (height, width))
    return plane.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_samples_that_are_found_explain_nearly_all_pixels(kind):
    size = (96, 120)
    full = upsample(smooth(*half_shape(kind, *size)), kind, *size)
    known = np.ones(size, np.bool_)
    wrong = upsample(shrink(full, known, kind), kind, *size) != full
    assert wrong.mean() < SURE
    assert likeliest([full, full], known, KINDS)[0] == kind


def asked_of(monkeypatch, shares):
    """Kinds given, and those looked at, where kinds leave such shares; what is not named leaves all."""
    asked = []

    def left(plane, known, kind):
        asked.append(kind)
        return shares.get(KINDS.index(kind), 1.0)

    monkeypatch.setattr(chroma_samples, "misfit", left)
    plane = np.zeros((8, 8), np.uint8)
    found = likeliest([plane], plane == 0, KINDS)
    return [KINDS.index(kind) for kind in found], {KINDS.index(kind) for kind in asked}


def test_a_kind_that_leaves_next_to_nothing_ends_the_search(monkeypatch):
    assert asked_of(monkeypatch, {0: SURE}) == ([0], {0})


def test_other_roundings_are_asked_where_one_is_near(monkeypatch):
    found, asked = asked_of(monkeypatch, {0: ASKED, 2: SHARE})
    assert found == [2]
    assert asked == {0, 1, 2, 3, 4, 8, 12, 16, 18}


def test_roundings_of_what_another_kind_has_beaten_are_not_asked(monkeypatch):
    good = 2 * SURE
    for share, others in ((BEATEN * good, {5, 6, 7}), (BEATEN * good + 0.01, set())):
        assert share < ASKED
        found, asked = asked_of(monkeypatch, {0: good, 4: share})
        assert found == [0]
        assert asked == {0, 1, 2, 3, 4, 8, 12, 16, 18} | others


def test_a_wrong_kind_leaves_more_than_the_right_one():
    size = (128, 128)
    full = upsample(smooth(64, 64), KINDS[0], *size)
    known = np.ones(size, np.bool_)
    shares = [misfit(full, known, kind) for kind in KINDS]
    assert min(shares) == shares[0] < SHARE
    assert 1.5 * shares[0] < sorted(shares)[1]
