"""The papers' claims, each as a row that can be run: `vdmc lab`.

A row is a function of a `Setting` that gives a `Finding`. `ROWS` names them all without importing any, so
that a list is shown at once; one file of this package holds the rows of one paper or of one part of it, and
registers them in its entry below.
"""

from vdmcompress.lab.finding import Curve, Finding, Plot, Row, Setting
from vdmcompress.lab.rows_vdm import VDM_ROWS

__all__ = ["ROWS", "Curve", "Finding", "Plot", "Row", "Setting", "run"]

ROWS: dict[str, Row] = {**VDM_ROWS}
"""All rows by id, in the order of the documents."""


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
