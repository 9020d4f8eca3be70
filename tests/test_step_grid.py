"""The step grid: the programme, what it measures, and the path that it writes."""

import itertools
import json
import math

import numpy as np
import pytest

from tests import phase_support
from tests.phase_support import CONFIG, phase, shaken
from vdmcompress.errors import UsageError
from vdmcompress.path import NoisePath
from vdmcompress.train.belief import (
    BeliefDenoiser,
    path_table,
)
from vdmcompress.train.config import BeliefConfig, load_config
from vdmcompress.train.run import Job
from vdmcompress.train.step_grid import (
    as_levels,
    best_chains,
    candidates,
    chain_cost,
    choose,
    measure,
    path_of,
    path_toml,
    run_grid,
)

folder, config, crops = phase_support.folder, phase_support.config, phase_support.crops


def test_the_programme_finds_what_trying_all_finds():
    rng = np.random.default_rng(1)
    for _ in range(5):
        costs = np.where(np.tril(np.ones((8, 8)), -1) > 0, rng.random((8, 8)), np.inf)
        for k, chain in enumerate(best_chains(costs, 5), start=1):
            everything = [chain_cost(costs, list(c)) for c in itertools.combinations(range(1, 7), k - 1)]
            assert len(chain) == k - 1
            assert chain_cost(costs, chain) == min(everything)


def test_levels_are_chosen_on_even_images_and_scored_on_odd_ones():
    """Two candidates, of which even images like the first and odd ones the second; scales count by size."""
    costs = np.full((4, 3, 4, 4), np.inf)
    for t, s in itertools.product(range(4), range(4)):
        if s < t:
            costs[:, :, t, s] = 10.0
    costs[0::2, :, 3, 1], costs[1::2, :, 3, 2] = 1.0, 2.0
    costs[:, 2, 1, 0] = 42.0
    found = choose(costs, 0, [1.0, 4.0], 2, 2)
    assert [(c.scale, c.evaluations) for c in found] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert found[1].levels == (1.0,)
    assert (found[1].chosen, found[1].scored) == (11.0, 20.0)
    assert found[3].levels == (1.0,)
    assert found[3].chosen == pytest.approx(1 + (10 + 42 / 4) / 1.25)
    assert [c.evaluations for c in choose(costs, 2, [1.0, 4.0], 1, 2)] == [1]


def test_measured_costs_are_those_of_the_path(config, crops):
    """A chain of the grid costs what the belief's own validation says of the same levels."""
    model = shaken(BeliefDenoiser(config.network), size=0.02)
    path = path_of(
        choose(np.ones((2, 2, 5, 5)), 0, [1.5, 3.0, 9.0], 2, 3)
        + choose(np.ones((2, 2, 5, 5)), 1, [1.5, 3.0, 9.0], 2, 3)
        + choose(np.ones((2, 2, 2, 2)), 2, [], 2, 1),
        (3, 2),
    )
    sigmas = [math.sqrt(path.band(0, 0).variance(k)) for k in (1, 2)]
    costs = measure(model, crops, 1, 0, sigmas).mean(0)[0]
    terms = path_table(model, path, crops, 1)["terms"]
    assert costs[1, 0] == pytest.approx(terms["s0.0"], abs=0.05)
    assert costs[2, 1] == pytest.approx(terms["s0.1"], abs=0.05)
    assert costs[3, 2] == pytest.approx(terms["s0.2"], abs=0.05)
    assert costs[3, 0] == pytest.approx(terms["s0.2d"], abs=0.05)
    assert np.isinf(costs[1, 1:]).all()
    assert np.array_equal(costs, measure(model, crops, 1, 0, sigmas).mean(0)[0])


@pytest.mark.parametrize("sigmas", [(), (0.75,), (2.0, 11.0), (1.4, 2.0, 2.8, 48.0), (1.0, 1.06)])
def test_integer_levels_are_near_the_ones_asked_for(sigmas):
    band = as_levels(sigmas)
    NoisePath.from_lists([[[[v.grid, v.scale] for v in band.levels], [], []]])
    for k, sigma in enumerate(sigmas, start=1):
        near = 0.05 if sigmas[-1] > 1.1 * sigmas[0] or k == 1 else 0.5
        assert math.sqrt(band.variance(k)) == pytest.approx(sigma, rel=near)
        assert band.delta(k) <= max(sigma, 1)
        assert band.levels[k - 1].own_sigma >= band.delta(k) / 4


def test_candidates_cover_the_range():
    found = candidates(BeliefConfig(sigma_low=1.0, sigma_high=32.0, per_octave=2, most=3))
    assert (found[0], found[-1], len(found)) == (1.0, pytest.approx(32.0), 11)


def test_the_grid_writes_a_path_for_configurations(folder, tmp_path):
    phase("belief", folder, tmp_path)
    lines = []
    images = (folder / "images",)
    run_grid(folder / "few.toml", Job((), tmp_path, device="cpu", valid_dirs=images, report=lines.append))
    text = (tmp_path / "path.toml").read_text()
    result = json.loads((tmp_path / "grid.json").read_text())
    again = tmp_path / "again.toml"
    start, end = CONFIG.index("path ="), CONFIG.index("[train]")
    again.write_text(CONFIG[:start] + text + CONFIG[end:])
    path = load_config(again).network.path
    assert path.to_lists() == result["best"]["path"]
    assert [b.evaluations for b in path.scales[0]] == [3, 2, 1]
    assert len(path.scales) == 2
    assert path_toml(path) == text
    assert [tuple(c[k] for k in ("scale", "band", "evaluations")) for c in result["choices"]] == [
        (s, b, k) for b in (0, 1, 2) for s in (0, 1) for k in ((1, 2, 3) if b < 2 else (1,))
    ]
    printed = "\n".join(entry["text"] for entry in lines)
    assert text.rstrip() in printed
    assert "scale 1 LH K=2: sigma" in printed
    with pytest.raises(UsageError, match="0 images of 32 pixels to choose levels on, two are needed"):
        few = tmp_path / "none.toml"
        few.write_text(CONFIG.replace("held_back = 2", "held_back = 0"))
        run_grid(few, Job((folder / "images",), tmp_path, device="cpu"))
