"""The papers' claims, each as a row that can be run: `vdmc lab`.

A row is a function of a `Setting` that gives a `Finding`. `ROWS` names them all without importing any, so
that a list is shown at once; one file of this package holds the rows of one paper or of one part of it, and
registers them in its entry below.
"""

from vdmcompress.lab.finding import Curve, Finding, Plot, Row, Setting
from vdmcompress.lab.rows_demystify import DEMYSTIFY_ROWS
from vdmcompress.lab.rows_iddpm import IDDPM_ROWS
from vdmcompress.lab.rows_ideas import IDEA_ROWS
from vdmcompress.lab.rows_vdm import VDM_ROWS
from vdmcompress.lab.rows_vdmpp import VDMPP_ROWS

__all__ = ["PAPERS", "ROWS", "Curve", "Finding", "Plot", "Row", "Setting", "paper_of", "run"]

ROWS: dict[str, Row] = {**VDM_ROWS, **VDMPP_ROWS, **IDDPM_ROWS, **DEMYSTIFY_ROWS, **IDEA_ROWS}
"""All rows by id, in the order of the documents."""

PAPERS: dict[str, str] = {
    "V": "Variational Diffusion Models (Kingma et al. 2021)",
    "W": "Understanding Diffusion Objectives as the ELBO (Kingma & Gao 2023)",
    "I": "Improved Denoising Diffusion Probabilistic Models (Nichol & Dhariwal 2021)",
    "T": "Demystifying Variational Diffusion Models (Ribeiro & Glocker 2024)",
    "X": "Ideas of the wider reading list",
}
"""Where rows come from, by the first letter of their id."""


def paper_of(row: str) -> str:
    """The paper of a row's id."""
    return PAPERS[row[0]]


def run(row: str, setting: Setting | None = None) -> Finding:
    """Run one row.

    Raises:
        KeyError: there is no such row.
        UsageError: the row needs something that the setting lacks.
    """
    from vdmcompress.errors import UsageError

    entry, setting = ROWS[row], setting or Setting()
    for need in entry.needs:
        if getattr(setting, need) is None:
            raise UsageError(f"row {row} needs {need}, and none were named; give the folder with --{need}")
    return entry.load()(setting)
