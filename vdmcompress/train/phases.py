"""The phases of training by name, in the order in which a model goes through them, and the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vdmcompress.errors import UsageError
from vdmcompress.model_file import SUFFIX, Model
from vdmcompress.train.belief import train_belief
from vdmcompress.train.config import load_config
from vdmcompress.train.correct import train_correct
from vdmcompress.train.experts import train_experts
from vdmcompress.train.export import export
from vdmcompress.train.parent import PARENT_SUFFIX, save_parent
from vdmcompress.train.rounding import train_rounding
from vdmcompress.train.run import Job, Report
from vdmcompress.train.start import load_graph
from vdmcompress.train.step_grid import run_grid

PHASES: dict[str, Callable[[Path, Job], None]] = {
    "belief": train_belief,
    "grid": run_grid,
    "experts": train_experts,
    "rounding": train_rounding,
    "correct": train_correct,
}
"""Phases besides the direct form, which is `run.main`."""


def main(
    phase: str,
    config_path: Path,
    data_dirs: list[Path],
    out: Path,
    resume: bool = False,
    minutes: float | None = None,
    device: str = "auto",
    valid_dirs: list[Path] | None = None,
    report: Report | None = None,
    start: Path | None = None,
) -> None:
    """Run a phase of `PHASES`; arguments as `run.main` has them.

    start: the checkpoint to begin with; without it the grid reads `belief.pt`, the others `last.pt` of `out`.
    """
    if phase not in PHASES:
        raise UsageError(f"no phase {phase!r}; known are direct, {', '.join(PHASES)}")
    job = Job(tuple(data_dirs), out, resume, minutes, device, tuple(valid_dirs or ()), report, start)
    PHASES[phase](config_path, job)


def export_checkpoint(config_path: Path, out: Path, start: Path | None = None) -> Model:
    """Write a checkpoint's integer model file and its float parent to `out`; default `last.pt` of `out`."""
    config = load_config(config_path)
    model = load_graph(start or out / "last.pt", config.network)
    save_parent(model, out / f"{config.name}{PARENT_SUFFIX}")
    return export(model, config.name, out / f"{config.name}{SUFFIX}")
