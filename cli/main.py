"""`vdmc`: the group of commands, and how any error becomes one line and an exit code."""

import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from cli import (
    archive,
    bench,
    compare,
    decode,
    encode,
    eval,
    info,
    lab,
    models,
    page,
    report,
    selftest,
    train,
    verify,
)


class Group(click.Group):
    """Commands in the order in which they were added; interruption gives 130, errors one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            result = super().main(args, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            click.echo("vdmc: interrupted", err=True)
            sys.exit(report.INTERRUPTED)
        except Exception as error:
            click.echo(f"vdmc: {report.message(error)}", err=True)
            if "-v" in (sys.argv if args is None else args):
                raise
            sys.exit(report.exit_code(error))
        sys.exit(result if isinstance(result, int) else 0)


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    parts = [f"vdmc {metadata.version('vdmcompress')}", f"Python {sys.version.split()[0]}"]
    parts += [f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "torch", "pillow")]
    click.echo(", ".join(parts))
    ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the versions of vdmc and of what it computes with.",
)
def cli() -> None:
    """Lossless image compression with a diffusion model.

    Exit codes: 0 all done; 1 some of several files failed, or one could not be written; 2 usage, or an image
    of an unsupported kind; 3 damaged file; 4 model missing or wrong; 5 limit; 6 this machine computes
    differently; 130 interrupted.
    """


for command in (
    encode.encode,
    decode.decode,
    info.info,
    verify.verify,
    archive.archive,
    eval.evaluate,
    compare.compare,
    bench.bench,
    page.page,
    selftest.selftest,
    models.models,
    train.train,
    lab.lab,
):
    cli.add_command(command)


def _terminated(number: int, _frame: object) -> NoReturn:
    """Leave as from an exception, so that half-written files are removed."""
    sys.exit(128 + number)


def main() -> None:
    """The console script."""
    for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):  # not on all systems
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")
    cli.main(prog_name="vdmc")
