"""Measuring that may be cut off: figures are written one by one, and what is there is not measured again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vdmcompress.measure.machine import machine, versions

TOLD_SECONDS = 10.0


@dataclass
class Progress:
    """Tells how far a step is and when it will end, on stderr, every few seconds."""

    label: str
    told: float = field(default_factory=time.perf_counter)
    begun: tuple[float, float] | None = None

    def __call__(self, done: float, total: float, stage: str) -> None:
        now = time.perf_counter()
        if self.begun is None:
            self.begun = now, done
        elif now - self.told >= TOLD_SECONDS and done > self.begun[1]:
            self.told = now
            left = (now - self.begun[0]) * (total - done) / (done - self.begun[1])
            print(f"  {self.label}, {stage}: {100 * done / total:.0f} %, {left:.0f} s left", file=sys.stderr)


@dataclass
class Record:
    """The figures, in their file after each change.  settings: what they hold for."""

    file: Path
    settings: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        old = json.loads(self.file.read_text()) if self.file.exists() else {}
        if old.get("settings") == self.settings:
            self.figures = old
        elif old:
            print(f"{self.file}: of other images or another model, begun anew", file=sys.stderr)

    def put(self, key: str, value: Any) -> None:
        """Keep a figure."""
        self.figures[key] = value
        about = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "versions": versions()}
        self.figures |= about | {"settings": self.settings}
        self.file.parent.mkdir(exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.figures, indent=1) + "\n")
        part.replace(self.file)

    def forget(self, parts: Sequence[str]) -> None:
        """Leave out figures and parts of figures of these names."""
        self.figures = {key: value for key, value in self.figures.items() if key.split()[0] not in parts}

    def once(self, key: str, measure: Callable[[], Any]) -> Any:
        """A figure that is there already, or is measured now."""
        if key not in self.figures:
            start = time.perf_counter()
            value = measure()
            print(f"{key}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
            self.put(key, value)
        return self.figures[key]
