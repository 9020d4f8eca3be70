"""`vdmc selftest`: does this machine compute what files need?"""

import json
from pathlib import Path

import click

from cli import options
from cli.report import Report
from vdmcompress.errors import MachineError, VdmError


@click.command(short_help="Check this machine against known answers.")
@options.reporting
def selftest(as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check what files depend on against known answers; exit code 6 where one differs.

    That is the coder's table of the normal distribution, and each network evaluation of every model found, in
    every way in which the processor can compute it; seconds a model. Each line appears as its check ends.
    """
    report = Report(1, as_json, quiet, verbose)
    with report.file(Path("selftest")):
        from vdmcompress.exact import selftest as run

        count = failed = 0
        for name, ok, detail in run():
            count += 1
            failed += not ok
            if as_json:
                status = "ok" if ok else "failed"
                click.echo(json.dumps({"check": name, "status": status, "detail": detail}))
            elif not quiet or not ok:
                click.echo(f"{'ok    ' if ok else 'FAILED'}  {name}{': ' + detail if detail else ''}")
        if not count:
            raise VdmError("no check was run")
        if failed:
            raise MachineError(
                f"{failed} of {count} checks failed: this machine computes differently; "
                "do not encode or decode on it"
            )
    report.finish("checked")
