"""Functions that worker processes of the tests run: they must be importable there."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cli.archive_task import Lost, Outcome, Task, decode_task
from cli.batch import Coded
from cli.progress import Progress
from cli.targets import Target

SLEEP_SECONDS = 300.0


def work(item: str) -> str:
    """What the item says: "die", "fail", "odd", a number of milliseconds to wait, or itself back."""
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "fail":
        raise ValueError("no " + item)
    if item == "odd":
        raise OddError(1, 2)
    if item.isdigit():
        time.sleep(int(item) / 1000)
    return item


def die_once(mark: str) -> str:
    """Dies if the file is not there yet, and makes it."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def decode_or_die(task: Task) -> list[Outcome] | Lost:
    """In place of `cli.archive_task.decode_task`: dies on the last group of the tests' archive."""
    if len(task.names) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode_task(task)


class OddError(Exception):
    """An error that cannot be taken out of a pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")


def code(settings: Any, target: Target, progress: Progress | None = None) -> Coded:
    """In place of `cli.encode._encode_one`: waits for ever on "slow", dies on "die", else copies the name."""
    name = target.source.stem
    if name == "slow":
        Path(target.output.with_suffix(".started")).write_text(str(os.getpid()))
        time.sleep(SLEEP_SECONDS)
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    size = {"width": 1, "height": 1, "channels": 1, "bytes_in": 1, "bytes_out": len(name), "bpd": 1.0}
    record = {"file": str(target.source), "model": None, "kind": "png", "seconds": 0.0, **size}
    return Coded(name.encode(), record | {"threads": settings.threads}, target, (f"note on {name}",))


def vdmc() -> None:
    """The command line, encoding by `code`."""
    from cli import encode, main

    encode._encode_one = code
    main.main()


if __name__ == "__main__":
    sys.argv[0] = "vdmc"
    vdmc()
