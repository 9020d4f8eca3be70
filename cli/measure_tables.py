"""Tables of measurements on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from vdmcompress.measure.summary import counted, megapixels


def print_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    left: Sequence[int] = (0,),
) -> None:
    """A table on stdout: columns with words to the left, figures to the right; notes below."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index in left else "right", no_wrap=index not in left[1:])
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to be cut at
    elif len(left) == 1:
        console.width = max(console.width, console.measure(table).maximum)  # figures are not cut
    click.echo(click.style(title, bold=True))
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
        f"*: fewest bytes. Ratio: bytes over those of {total['reference']}.",
        *_about_speeds(result["repeats"]),
        "Peak memory is that of the format's process, in MiB.",
        *([f"Encoded once, because slow: {', '.join(once)}."] if once else []),
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {_versions(result['versions'])}; "
        f"{result['date']}.",
    ]
    headings = (
        "format", "bytes", "bpd", "ratio", "encode Mpx/s", "decode Mpx/s", "MiB enc", "MiB dec", "threads",
    )  # fmt: skip
    title = f"{result['name']}: {counted(total['images'])}{left_out}, {megapixels(total['mpx'])}"
    print_table(title, headings, rows, notes)


def _about_speeds(repeats: int) -> list[str]:
    if repeats == 1:
        return ["Speeds: all pixels over the sum of the images' times, each measured once."]
    return [
        f"Speeds: all pixels over the sum of the images' medians of {repeats} repeats; in brackets, had each",
        "repeat been the slowest and the fastest.",
    ]


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


def print_evaluation(title: str, found: Mapping[str, Any]) -> None:
    """VLB and coded bits by scale, band and level; from the VLB to the file; findings."""
    from vdmcompress.measure.evaluation import FEW, calibration, explain

    several = "files" in found
    headings = ["scale", "band", "level", "VLB bpd", "coded bpd", "gap", "cal. network", "coder"]
    if several:
        headings[4:4] = ["± s.e."]
    rows = []
    for row in found["rows"]:
        gap = 100 * (row["coded_bits"] / row["vlb_bits"] - 1) if row["vlb_bits"] else 0.0
        cells = [
            "-" if row["scale"] is None else str(row["scale"]),
            row["band"],
            str(row["level"]),
            f"{row['vlb_bpd']:.4f}",
            f"{row['coded_bpd']:.4f}",
            f"{gap:+.2f} %",
            calibration(row, "network_calibration"),
            calibration(row, "calibration"),
        ]
        if several:
            cells[4:4] = [_optional(row["vlb_se"], 4)]
        rows.append(cells)
    note = f"cal.: mean squared normalised residual, 1 expected; in brackets under {FEW:,} positions."
    print_table(title, headings, rows, [note])
    steps = [
        (step["step"], f"{step['bits']:+,.0f}", f"{step['bpd']:+.5f}", step["why"]) for step in explain(found)
    ]
    error = f" ± {found['file_se']:.4f}" if several and found["file_se"] is not None else ""
    whole = f"{found['file_bytes']:,} bytes, {found['above_vlb_percent']:+.2f} % on the VLB{error}"
    steps.append(("file", f"{8 * found['file_bytes']:,}", f"{found['file_bpd']:.5f}", whole))
    print_table("from the bound to the file", ("", "bits", "bpd", "why"), steps, left=(0, 3))
    parts = ", ".join(f"{name} {size:,}" for name, size in found["parts"].items())
    click.echo(f"bytes: {parts}; together {sum(found['parts'].values()):,}")
    if several:
        plans = ", ".join(f"plan {plan} {count}" for plan, count in found["plans"].items())
        click.echo(f"images by plan: {plans}")
    for finding in found["findings"]:
        click.echo(f"! {finding}")
    if not found["findings"]:
        click.echo("Coded bits agree with the bound, and residuals with their scales.")


def print_sweep(swept: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
    """One line a setting: name, model, totals."""
    rows = [
        (
            name,
            model,
            f"{total['vlb_bpd']:.4f}",
            _optional(total["vlb_se"], 4),
            f"{total['coded_bpd']:.4f}",
            f"{total['gap_percent']:+.2f} %",
            f"{total['file_bpd']:.4f}",
            f"{total['file_bytes']:,}",
            ", ".join(f"{plan}: {count}" for plan, count in total["plans"].items()),
            f"{total['seconds']:.1f}",
        )
        for name, model, total in swept
    ]
    headings = (
        "setting", "model", "VLB bpd", "± s.e.", "coded bpd", "gap", "file bpd", "bytes", "plans", "seconds",
    )  # fmt: skip
    print_table(counted(swept[0][2]["files"]), headings, rows, left=(0, 1))


def _optional(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
