"""Outputs of inputs, and the progress bar."""

import io
import sys
from pathlib import Path

import click
import pytest

from cli.progress import progress_bar
from cli.sources import STREAM, Source
from cli.targets import coded_name
from cli.targets import plan as plan_sources


def plan(inputs, output, output_dir):
    """Targets of named inputs as `vdmc encode` plans them."""
    return plan_sources([Source(path) for path in inputs], output, output_dir, coded_name)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


def test_beside_or_in_a_folder(tmp_path):
    inputs = [Path("x/a.b.png"), Path("c.ppm")]
    assert [t.output for t in plan(inputs, None, None)] == [Path("x/a.b.vdm"), Path("c.vdm")]
    assert [t.output for t in plan(inputs, None, tmp_path)] == [
        tmp_path / "a.b.vdm",
        tmp_path / "c.vdm",
    ]


def test_equal_names_in_different_folders_collide_in_one_folder(tmp_path):
    with pytest.raises(click.UsageError, match="both be written"):
        plan([Path("x/a.png"), Path("y/a.png")], None, tmp_path)
    assert len(plan([Path("x/a.png"), Path("y/a.png")], None, None)) == 2


def test_no_data_to_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(click.UsageError, match="terminal"):
        plan([STREAM], None, None)
    assert plan([Path("a.png")], None, None)


@pytest.mark.parametrize("inputs", [[STREAM, Path("a")], [STREAM, STREAM]])
def test_standard_input_stands_alone(inputs):
    with pytest.raises(click.UsageError, match="only input"):
        plan(inputs, None, None)


def test_no_bar_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar("a", quiet=False) as progress:
        assert progress is None


@pytest.mark.parametrize("quiet", [False, True])
def test_bar_on_a_terminal(monkeypatch, quiet):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("[a].png", quiet=quiet) as progress:
        if quiet:
            assert progress is None
        else:
            progress(1.0, 4.0, "HL [0]")
    assert ("[a].png" in terminal.getvalue()) is not quiet
    assert ("25%" in terminal.getvalue()) is not quiet
