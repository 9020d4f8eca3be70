"""Tables of measurements on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


def print_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """A table on stdout: the first column to the left, figures to the right; notes below."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to be cut at
    console.print(table)
    for note in notes:
        click.echo(note)


def print_bench(result: Mapping[str, Any]) -> None:
    """Totals of a set by format (`measure.bench.run`)."""
    total = result["totals"]
    formats = total["formats"]
    smallest = min(f["bytes"] for f in formats.values())
    rows = []
    for title, f in formats.items():
        rows.append(
            (
                title + (" *" if f["bytes"] == smallest else ""),
                f"{f['bytes']:,}",
                f"{f['bpd']:.4f}",
                f"{f['ratio']['bytes']:.3f}",
                _speed(f, "encode"),
                _speed(f, "decode"),
                f"{f['encode_peak_mib']:,}",
                f"{f['decode_peak_mib']:,}",
                f"{result['formats'][title]['threads']}",
            )
        )
    machine = result["machine"]
    left_out = f", {len(result['skipped'])} left out" if result["skipped"] else ""
    once = [title for title, f in formats.items() if f["encode_repeats"] == 1 < result["repeats"]]
    notes = [
        f"Bytes over those of {total['reference']}. Speeds: all pixels over the sum of the images' medians",
        f"of {result['repeats']} repeats; in brackets, had each repeat been the slowest and the fastest.",
        "Peak memory is that of the format's process, in MiB.",
        *([f"Encoded once, because slow: {', '.join(once)}."] if once else []),
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {_versions(result['versions'])}; "
        f"{result['date']}.",
    ]
    headings = (
        "format", "bytes", "bpd", "ratio", "encode Mpx/s", "decode Mpx/s", "MiB enc", "MiB dec", "threads",
    )  # fmt: skip
    title = f"{result['name']}: {total['images']} images{left_out}, {total['mpx']:.2f} Mpx"
    print_table(title, headings, rows, notes)


def _speed(f: Mapping[str, Any], way: str) -> str:
    value, low, high = (number(f[f"{way}_{key}"]) for key in ("mpx_s", "low", "high"))
    return value if f[f"{way}_repeats"] == 1 else f"{value} ({low}-{high})"


def number(value: float) -> str:
    """Three figures."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value >= 0.995 else f"{value:.3f}"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def print_moved(moved: Mapping[str, Any]) -> None:
    """What moved since a baseline (`measure.baseline.compare`)."""
    rows = []
    for title, m in moved["formats"].items():
        changed = f"{m['bytes']:+,}" if m["bytes"] else "same"
        percent = f"{m['bytes_percent']:+.3f} %" if m["bytes"] else ""
        speeds = [_moved_speed(m[way]) for way in ("encode", "decode")]
        rows.append((title, changed, percent, f"{m['images_changed']}", *speeds))
    headings = ("format", "bytes", "", "images", "encode speed", "decode speed")
    title = f"since {moved['date']}, over the {moved['images']} images of both"
    print_table(title, headings, rows, moved["notes"])
    for line in moved["largest"]:
        click.echo(f"  {line['image']} {line['format']}: {line['old']:,} -> {line['new']:,} bytes")


def _moved_speed(change: Mapping[str, Any] | None) -> str:
    if change is None:
        return "-"
    mark = "" if change["beyond_spread"] else " (within spread)"
    return f"{100 * (change['ratio'] - 1):+.0f} %{mark}"
