"""Which shipped model is tried for which pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.model_support import photo
from vdmcompress import choice
from vdmcompress.choice import models_for, models_of, serves
from vdmcompress.colour import was_stored
from vdmcompress.efforts import effort_of
from vdmcompress.picture import array_picture


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """A package with all models, or with those that a test leaves in the list."""
    names = ["dart", "photo", "swift", "tiny", "ycc"]

    def find(name):
        return tmp_path / name if name in names else None

    monkeypatch.setattr(choice, "shipped", find)
    return names


def found(names):
    return tuple(name.rsplit("/", 1)[-1] for name in names)


def once_a_jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return np.asarray(Image.open(stream))


def test_models_by_size_effort_and_past(shipped):
    assert found(models_for(400, 600, effort_of(7))) == ("photo",)
    assert found(models_for(400, 600, effort_of(7), stored=True)) == ("ycc",)
    assert found(models_for(400, 600, effort_of(9), stored=True)) == ("ycc",)
    assert found(models_for(400, 600, effort_of(1), stored=True)) == ("dart",)
    assert found(models_for(64, 64, effort_of(7))) == ("tiny", "photo")
    assert found(models_for(64, 64, effort_of(7), stored=True)) == ("tiny", "photo")
    assert found(models_for(400, 600, effort_of(7), "mine", stored=True)) == ("mine",)
    shipped.remove("ycc")
    assert found(models_for(400, 600, effort_of(7), stored=True)) == ("photo",)


def test_the_past_is_looked_at_where_it_decides(shipped):
    plain, stored = (array_picture(x) for x in (photo(96, 128), once_a_jpeg(photo(96, 128))))
    assert found(models_of(plain, effort_of(7))) == ("photo",)
    assert found(models_of(stored, effort_of(7))) == ("ycc",)
    assert found(models_of(stored, effort_of(7), colour="rgb")) == ("photo",)
    assert found(models_of(stored, effort_of(7), "auto")) == ("ycc",)
    assert found(models_of(stored, effort_of(7), "photo")) == ("photo",)
    assert found(models_of(stored, effort_of(3))) == ("swift",)
    alpha = np.dstack((stored.pixels, np.full((96, 128), 255, np.uint8)))
    assert found(models_of(array_picture(alpha), effort_of(7))) == ("ycc",)


def test_efforts_that_are_not_careful_seek_quickly():
    assert [effort_of(n).search("auto") for n in (1, 3, 4, 9)] == ["quick", "quick", "auto", "auto"]
    assert [effort_of(n).search("rgb") for n in (1, 9)] == ["rgb", "rgb"]


def test_a_sample_tells_the_past():
    assert was_stored(once_a_jpeg(photo(300, 400)))
    assert was_stored(once_a_jpeg(photo(300, 400))[3:, 5:])
    for pixels in (photo(300, 400), photo(300, 400, 1), once_a_jpeg(photo(300, 400))[:9, :9]):
        assert not was_stored(pixels)
    assert not was_stored(once_a_jpeg(photo(300, 400)).astype(np.uint16))


def test_each_model_says_what_it_is_for():
    assert all(serves(name) for name in ("dart", "photo", "swift", "tiny", "ycc"))
    assert serves("mine") == ""
