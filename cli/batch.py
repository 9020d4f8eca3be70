"""One command over many files: what is done for each, what is said, what is written and removed.

Coding is a function from a target to `Coded`; it writes nothing, so that it may run in worker processes that
can be killed at any moment. Writing is done here, in the one process that the user started, as each file is
ready; lines are printed in the order of the inputs.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import click

from cli.progress import Progress, progress_bar
from cli.report import Report, printable
from cli.sources import STREAM, Sources
from cli.streams import Original, check_target, write_target
from cli.targets import Target
from vdmcompress.workers import Workers


@dataclass(frozen=True)
class Coded:
    """What coding one input gave.

    data: bytes of the output.  record: what --json says.  target: where the output goes.  notes: what is said
    on stderr; details: what -v says there.  complete: all that the input holds is in data, so that it may be
    removed.
    """

    data: bytes
    record: dict[str, Any]
    target: Target
    notes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    complete: bool = True


class Coder(Protocol):
    """Codes one input; may be sent to a worker process."""

    def __call__(self, target: Target, progress: Progress | None = None) -> Coded: ...


@dataclass(frozen=True)
class Writing:
    """How outputs are written: -f, --skip-existing, --rm."""

    force: bool = False
    skip_existing: bool = False
    remove: bool = False

    def __post_init__(self) -> None:
        if self.force and self.skip_existing:
            raise click.UsageError("-f replaces what --skip-existing passes over: choose one")

    def skips(self, target: Target) -> bool:
        """Whether the output is there already."""
        return self.skip_existing and target.output != STREAM and target.output.is_file()


Outcome: TypeAlias = Coded | Exception


@dataclass
class Batch:
    """The files of one command.

    writing: None where nothing is written.  done: the word of the summary, "encoded".  line: of a record, for
    people.  once: said before the first file that was coded, and never where none was.
    """

    targets: Sequence[Target]
    writing: Writing | None
    report: Report
    done: str
    line: Callable[[dict[str, Any]], str]
    once: str = ""
    originals: dict[Path, Original] = field(default_factory=dict)

    def run(self, coder: Coder, jobs: int = 1) -> None:
        """Code and write all files, and leave with the exit code; an interruption sums up what was done."""
        try:
            with closing(self._parallel(coder, jobs) if jobs > 1 else self._serial(coder)) as outcomes:
                for target, outcome in outcomes:
                    self._say(target, outcome)
        except (KeyboardInterrupt, SystemExit):
            if self.report.total > 1:
                self.report.note(self.report.summary(self.done))
            raise
        self.report.finish(self.done, always=True)

    def _serial(self, coder: Coder) -> Generator[tuple[Target, Outcome | None]]:
        for target in self.targets:
            try:
                if self.writing and self.writing.skips(target):
                    yield target, None
                    continue
                self._check(target)
                with progress_bar(printable(target.source.name), quiet=self.report.quiet) as progress:
                    coded = coder(target, progress)
                outcome: Outcome = self._write(coded)
            except Exception as error:
                outcome = error
            yield target, outcome

    def _parallel(self, coder: Coder, jobs: int) -> Generator[tuple[Target, Outcome | None]]:
        """As files become ready they are written; outcomes wait until those before them have been told."""
        outcomes: dict[int, Outcome | None] = {}
        work = []
        for index, target in enumerate(self.targets):
            try:
                if self.writing and self.writing.skips(target):
                    outcomes[index] = None
                    continue
                self._check(target)
                work.append(index)
            except Exception as error:
                outcomes[index] = error
        told = 0
        with Workers[Target, Coded](min(jobs, len(work)), coder) as workers:
            for place, result in workers.run([self.targets[index] for index in work]):
                outcomes[work[place]] = self._written(result)
                while told in outcomes:
                    yield self.targets[told], outcomes.pop(told)
                    told += 1
        for index in sorted(outcomes):
            yield self.targets[index], outcomes[index]

    def _check(self, target: Target) -> None:
        """Refuse what could not be written or removed in the end, before any work."""
        if self.writing is None:
            return
        check_target(target, self.writing.force)
        if self.writing.remove:
            self.originals[target.source] = Original.of(target.source)

    def _written(self, result: Outcome) -> Outcome:
        if isinstance(result, Exception):
            return result
        try:
            return self._write(result)
        except Exception as error:
            return error

    def _write(self, coded: Coded) -> Coded:
        """Write the output, remove the input if that is asked for; what is returned holds no data."""
        if self.writing is None:
            return coded
        target = coded.target
        write_target(target, coded.data, self.writing.force)
        record, notes = coded.record, coded.notes
        if self.writing.remove:
            if coded.complete:
                self.originals.pop(target.source).remove(target.output, coded.data)
            else:
                notes = (*notes, "not removed, because the output does not hold all of it")
            record = {**record, "removed": coded.complete}
        return Coded(b"", record, target, notes, coded.details)

    def _say(self, target: Target, outcome: Outcome | None) -> None:
        with self.report.file(target.source):
            if outcome is None:
                self.report.skip(target.source, f"{printable(target.output)} exists")
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                if self.once:
                    self.report.note(self.once)
                    self.once = ""
                for note in outcome.notes:
                    self.report.note(f"{printable(target.source)}: {note}")
                for detail in outcome.details:
                    self.report.detail(f"{printable(target.source)}: {detail}")
                self.report.line(self.line(outcome.record), outcome.record)


def tell_sources(report: Report, sources: Sources, kind: str) -> None:
    """Report folders that could not be read; say so where a batch has found nothing."""
    for folder, error in sources.unread:
        with report.file(folder):
            raise error
    if sources.left_out:
        report.detail(f"{sources.left_out} other files in folders were left out")
    if not sources.total:
        report.note(f"nothing to do: no {kind} found")
