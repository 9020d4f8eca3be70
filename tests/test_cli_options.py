"""Options that have a form of their own."""

import click
import pytest

from cli.options import ByteSize


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("2000000", 2_000_000),
        ("512MiB", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("2g", 2 << 30),
        ("3 kb", 3 << 10),
    ],
)
def test_sizes(text, size):
    assert ByteSize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1TiB", "1.2.3", "0.4"])
def test_what_is_no_size(text):
    with pytest.raises(click.BadParameter, match="is no size"):
        ByteSize().convert(text, None, None)
