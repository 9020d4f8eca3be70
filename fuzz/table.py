"""The figures of docs/security.md, from the reports of `fuzz.drive` in fuzz/results.

    python -m fuzz.drive --target file --cases 20000 --report fuzz/results/file.json
    python -m fuzz.table

A report has the name of its target.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "security.md"
START, END = "<!-- fuzz -->\n", "<!-- /fuzz -->\n"
MIB = 1 << 20


def render(reports: dict[str, dict[str, Any]]) -> str:
    """Two tables in Markdown: a line for each target, and a line for each outcome."""
    lines = [
        "| target | cases | broken promises | slowest case, processor | mean | most memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for target, report in sorted(reports.items()):
        lines.append(
            f"| {target} | {report['cases']:,} | {len(report['broken'])} | "
            f"{report['slowest']['processor']:.2f} s | {1000 * report['mean_processor_seconds']:.1f} ms | "
            f"{report['largest']['memory'] / MIB:.1f} MiB |"
        )
    lines += ["", "| target | mutation | outcome | cases |", "|---|---|---|---:|"]
    for target, report in sorted(reports.items()):
        for kind, outcomes in report["outcomes"].items():
            for outcome, count in sorted(outcomes.items(), key=lambda item: -item[1]):
                lines.append(f"| {target} | {kind} | {outcome} | {count:,} |")
    return "\n".join(lines) + "\n"


def load() -> dict[str, dict[str, Any]]:
    """Target -> report."""
    return {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}


def replace(page: str, tables: str) -> str:
    """The page with these tables between its two markers."""
    before, marker, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not marker or not end:
        raise ValueError(f"{PAGE.name} must have {START.strip()} and {END.strip()}")
    return before + START + tables + END + after


if __name__ == "__main__":
    PAGE.write_text(replace(PAGE.read_text(), render(load())))
