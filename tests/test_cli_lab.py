"""`vdmc lab`: what it lists, what it says of a row that holds and of one that does not."""

import json
from importlib.util import find_spec

import pytest

from vdmcompress import lab
from vdmcompress.lab import ROWS
from vdmcompress.lab.finding import Curve, Finding, Plot


@pytest.fixture
def outcome(monkeypatch):
    """A lab whose rows cost nothing; gives what rows are to say, by name, and the settings of the runs."""
    said: dict[str, Finding] = {}
    settings = []

    def run(name, setting):
        settings.append(setting)
        plot = Plot("bound", "steps", "bpd", (Curve("even", (1.0, 2.0), (3.0, 2.5), (0.1, 0.1)),), log_x=True)
        return said.get(name, Finding(name, ROWS[name].claim, "3 of 3", True, {"gap": 0.25}, (plot,)))

    monkeypatch.setattr(lab, "run", run)
    return said, settings


def test_lists_all_rows_by_paper(vdmc):
    text = vdmc("lab").stdout
    for name, row in ROWS.items():
        assert f"  {name:<4} " in text
        assert row.title in text
    assert text.index("Variational Diffusion Models") < text.index("Improved Denoising")


def test_lists_as_json(vdmc):
    records = [json.loads(line) for line in vdmc("lab", "--json").stdout.splitlines()]
    assert [r["row"] for r in records] == list(ROWS)
    kinds = {r["row"]: r["kind"] for r in records}
    assert kinds["T5"] == "test"
    assert kinds["W4"] == "lab"


def test_fast_lists_tests_alone(vdmc):
    records = [json.loads(line) for line in vdmc("lab", "--fast", "--json").stdout.splitlines()]
    assert records
    assert all(r["kind"] == "test" for r in records)


def test_a_row_that_holds(vdmc, outcome):
    result = vdmc("lab", "t5")
    assert result.exit_code == 0
    for part in ("T5  ", "pass", "claimed", "measured  3 of 3", "gap  0.25"):
        assert part in result.stdout


def test_a_row_that_fails_gives_1(vdmc, outcome):
    said, _ = outcome
    said["T2"] = Finding("T2", "claim", "off", False)
    result = vdmc("lab", "T1", "T2")
    assert result.exit_code == 1
    assert "FAIL" in result.stdout
    assert "1 of 2 rows hold; not: T2" in result.stderr
    assert vdmc("lab", "T2").exit_code == 1
    assert vdmc("lab", "T1").exit_code == 0


def test_rows_as_json(vdmc, outcome):
    record = json.loads(vdmc("lab", "W2", "--json").stdout)
    assert record["row"] == "W2"
    assert record["passed"] is True
    assert record["figures"] == {"gap": 0.25}
    assert record["plots"][0]["curves"][0]["y"] == [3.0, 2.5]
    assert record["paper"].startswith("Understanding")


def test_options_reach_the_rows(vdmc, outcome, tmp_path):
    _, settings = outcome
    assert vdmc("lab", "V1", "--scale", "0.5", "--seed", "3", "--images", tmp_path).exit_code == 0
    assert settings[0].scale == 0.5
    assert settings[0].seed == 3
    assert settings[0].images == tmp_path


def test_all_fast_runs_the_tests(vdmc, outcome):
    _, settings = outcome
    result = vdmc("lab", "--all", "--fast")
    assert result.exit_code == 0
    assert len(settings) == sum(row.is_test for row in ROWS.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("V99",), "no row V99"), (("V1", "--all"), "exclude each other"), (("V1", "--scale", "0"), "scale")],
)
def test_what_makes_no_sense(vdmc, arguments, said):
    result = vdmc("lab", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_row_that_needs_images_says_so(vdmc):
    name = next(name for name, row in ROWS.items() if "images" in row.needs)
    result = vdmc("lab", name)
    assert result.exit_code == 2
    assert "--images" in result.stderr


def test_plot_without_matplotlib_is_one_plain_line(vdmc, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = vdmc("lab", "T3", "--plot", tmp_path / "t3.svg")
    assert result.exit_code == 2
    assert "needs matplotlib" in result.stderr
    assert not (tmp_path / "t3.svg").exists()


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_plot_draws_the_curves(vdmc, outcome, tmp_path):
    result = vdmc("lab", "T3", "X8", "--plot", tmp_path / "curves.svg")
    assert result.exit_code == 0, result.stderr
    assert "2 plots" in result.stderr
    assert (tmp_path / "curves.svg").read_text().count("<svg") == 1
