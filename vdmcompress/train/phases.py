"""The phases of training by name, in the order in which a model goes through them, and the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vdmcompress.model_file import SUFFIX, Model
from vdmcompress.train.belief import train_belief
from vdmcompress.train.config import load_config
from vdmcompress.train.correct import train_correct
from vdmcompress.train.experts import train_experts
from vdmcompress.train.export import export
from vdmcompress.train.parent import PARENT_SUFFIX, save_parent
from vdmcompress.train.rounding import train_rounding
from vdmcompress.train.run import Job, train_direct
from vdmcompress.train.start import load_graph
from vdmcompress.train.step_grid import run_grid

PHASES: dict[str, Callable[[Path, Job], None]] = {
    "belief": train_belief,
    "grid": run_grid,
    "direct": train_direct,
    "experts": train_experts,
    "rounding": train_rounding,
    "correct": train_correct,
}
"""Each takes a configuration and a job; without a start the grid reads `belief.pt`, others `last.pt`."""


def export_checkpoint(config_path: Path, out: Path, start: Path | None = None) -> Model:
    """Write a checkpoint's integer model file and its float parent to `out`; default `last.pt` of `out`."""
    config = load_config(config_path)
    model = load_graph(start or out / "last.pt", config.network)
    save_parent(model, out / f"{config.name}{PARENT_SUFFIX}")
    return export(model, config.name, out / f"{config.name}{SUFFIX}")
