"""Configurations of training: what is unknown or out of bounds is refused by name."""

from pathlib import Path

import pytest

from tests.model_support import FEW_STEPS
from vdmcompress.errors import UsageError
from vdmcompress.train import run
from vdmcompress.train.config import TrainConfig, load_config


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            ("batch = 3", "batch = 3\nlr = 1"),
            r"\[train\]: unknown key 'lr'; known are batch, bfloat16, chain_scales, chain_weight",
        ),
        (("blocks = 1", "blocks = 1\ndepth = 2"), "depth"),
        (("[train]", "[tain]"), "unknown key 'tain'"),
        (('name = "few"', 'nam = "few"'), "unknown key 'nam'"),
        (('name = "few"', ""), "name"),
        (("width = 8", "width = 4"), "width 4, allowed are 8 to 512"),
        (("blocks = 1", "blocks = 16"), "blocks 16, allowed are 1 to 15"),
        (("[0, 32]", "[9, 32]"), "levels outside"),
        (("[[1, 35]], []", "[[1, 35]], [[1, 35]]"), "HH"),
        (("steps = 7", "steps ="), r"few\.toml"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path, change, why):
    path = tmp_path / "few.toml"
    path.write_text(FEW_STEPS)
    load_config(path)
    assert FEW_STEPS.count(change[0]) == 1
    path.write_text(FEW_STEPS.replace(*change))
    with pytest.raises(UsageError, match=why):
        load_config(path)


def test_shipped_configurations_are_read():
    folder = Path(run.__file__).parent.parent / "configs"
    assert [load_config(p).name for p in sorted(folder.glob("*.toml"))] == [
        p.stem for p in sorted(folder.glob("*.toml"))
    ]
    with pytest.raises(UsageError, match="none"):
        load_config(folder / "none.toml")


def test_outside_of_chain_scales_the_weights_are_turned_round():
    """Where bands are coded directly, chains count less and the direct predictions in full."""
    config = TrainConfig(chain_scales=(1, 2), chain_weight=0.25, direct_weight=0.1)
    assert [config.path_weights(scale) for scale in (0, 1, 5)] == [(0.25, 1.0), (1.0, 0.1), (0.25, 1.0)]
    assert TrainConfig().path_weights(0) == (1.0, 0.1)
