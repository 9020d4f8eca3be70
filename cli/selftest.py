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
    """Check tables, networks and coder against known answers; exit code 6 where one differs."""
    report = Report(1, as_json, quiet, verbose)
    with report.file(Path("selftest")):
        from vdmcompress.exact import selftest as run

        results = run()
        for name, ok, detail in results:
            if as_json:
                status = "ok" if ok else "failed"
                click.echo(json.dumps({"check": name, "status": status, "detail": detail}))
            elif not quiet or not ok:
                click.echo(f"{'ok    ' if ok else 'FAILED'}  {name}{': ' + detail if detail else ''}")
        if not results:
            raise VdmError("no check was run")
        failed = sum(not ok for _, ok, _ in results)
        if failed:
            raise MachineError(
                f"{failed} of {len(results)} checks failed: this machine computes differently; "
                "do not encode or decode on it"
            )
    report.finish("checked")
