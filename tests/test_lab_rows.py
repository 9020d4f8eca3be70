"""Rows of the papers' table that are short enough to be tests: each is run as `vdmc lab` runs it."""

from pathlib import Path

import pytest

from vdmcompress.lab import PAPERS, ROWS, Finding, Setting, paper_of, run

SHORT = [name for name, row in ROWS.items() if row.is_test and name[0] in "WIT"]


@pytest.mark.parametrize("name", SHORT)
def test_row_holds(name):
    finding = run(name, Setting())
    assert finding.passed, finding.measured
    assert finding.row == name
    assert finding.claim == ROWS[name].claim
    assert finding.figures
    for plot in finding.plots:
        for curve in plot.curves:
            assert len(curve.x) == len(curve.y)
            assert len(curve.error) in (0, len(curve.x))


def test_the_other_short_rows_are_tests_too():
    """Rows of VDM are run in the tests of vdm32, ideas in a file of their own."""
    tests = Path(__file__).parent
    text = "".join(path.read_text() for path in tests.glob("test_vdm32_*.py"))
    for name in (name for name, row in ROWS.items() if row.is_test and name[0] == "V"):
        assert f'"{name}"' in text, name


def test_all_rows_of_the_table_are_there():
    wanted = [f"V{i}" for i in (*range(1, 18), 19)] + [f"W{i}" for i in range(1, 6)]
    wanted += [f"I{i}" for i in (1, 2, 3, 5, 6, 7, 8, 9, 10)] + [f"T{i}" for i in range(1, 7)]
    assert set(wanted) <= set(ROWS)
    assert {paper_of(name) for name in ROWS} == set(PAPERS.values())


@pytest.mark.parametrize("name", ROWS)
def test_every_row_can_be_loaded(name):
    row = ROWS[name]
    assert callable(row.load())
    assert row.title
    assert row.claim
    assert row.seconds > 0


def test_a_finding_says_whether_it_holds():
    assert not Finding("T1", "claim", "measured", False).passed
