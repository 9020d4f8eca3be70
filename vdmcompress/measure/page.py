"""A measurement as one HTML page that needs nothing else: no network, no scripts, pictures within.

sizes and speeds (bench.py)  |  from the bound to the file (evaluation.py)  |  one image looked at (views.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import Any

from vdmcompress.measure import charts, page_views
from vdmcompress.measure.evaluation import FEW, calibration, explain
from vdmcompress.measure.page_views import Sample
from vdmcompress.measure.summary import counted, megapixels


@dataclass(frozen=True)
class Content:
    """What a page shows.

    result: of `bench.run`.  title: vdmc's row that the page is about.  total: of `evaluation.totals`, None
    where no image went through diffusion.  sample: the image that is looked at.  classical: of
    `methods.classical_images`.  coded_by: effort and model of total, as a sentence.
    """

    result: Mapping[str, Any]
    title: str
    total: Mapping[str, Any] | None = None
    sample: Sample | None = None
    classical: Sequence[Mapping[str, str]] = field(default_factory=tuple)
    coded_by: str = ""


def render(content: Content) -> str:
    """The page."""
    style = resources.files("vdmcompress.measure").joinpath("page.css").read_text()
    name = escape(content.result["name"])
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>vdmc: {name}</title>",
        f"<style>{style}</style></head><body><main>",
        _head(content),
        _sizes(content),
        _speeds(content.result),
    ]
    if content.total is not None:
        parts.append(_bound(content.total, content.coded_by))
    if content.sample is not None:
        parts += [page_views.bit_map(content.sample), page_views.levels(content.sample)]
    parts += [_methods(content), _images(content), _how(content.result), "</main></body></html>"]
    return "\n".join(parts) + "\n"


def _head(content: Content) -> str:
    total = content.result["totals"]
    mine, reference = total["formats"][content.title], total["reference"]
    title = f'<span class="one">{escape(content.title)}</span>'
    found = [
        (f"{mine['bpd']:.4f}", f"bits per dimension, {title}"),
        (f"{100 * (mine['ratio']['bytes'] - 1):+.1f} %", f"bytes against {escape(reference)}"),
        (f"{mine['encode_mpx_s']:.3g}", "Mpx/s encoding, without the check"),
        (f"{mine['decode_mpx_s']:.3g}", "Mpx/s decoding"),
    ]
    if content.total is not None:
        bound = content.total
        error = f" ± {bound['vlb_se']:.3f}" if bound["vlb_se"] is not None else ""
        found[1:1] = [(f"{bound['vlb_bpd']:.4f}", f"bits per dimension promised (VLB){error}")]
        found[2:2] = [(f"{bound['gap_percent']:+.2f} %", "coded bits against the VLB")]
    cards = "".join(f"<div><b>{value}</b>{what}</div>" for value, what in found)
    machine = content.result["machine"]
    return (
        f"<h1>{escape(content.result['name'])}</h1>"
        f'<p class="soft">{counted(total["images"])}, {megapixels(total["mpx"])}; {escape(machine["cpu"])}, '
        f"{machine['cores']} cores; {content.result['date']}. "
        "Every image was compared with what came back.</p>"
        f'<div class="figures">{cards}</div>'
    )


def _sizes(content: Content) -> str:
    total = content.result["totals"]
    most = max(f["bytes"] for f in total["formats"].values())
    speeds = (
        "Speeds are medians of repeats; in brackets, had each repeat been the slowest and the fastest."
        if content.result["repeats"] > 1
        else "Each image was coded once: speeds may be off by what else the machine did."
    )
    rows = []
    for title, f in sorted(total["formats"].items(), key=lambda item: item[1]["bytes"]):
        cells = [
            escape(title),
            f"{f['bytes']:,}",
            f"{f['bpd']:.4f}",
            f"{f['ratio']['bytes']:.3f}",
            _speed(f, "encode"),
            _speed(f, "decode"),
            f"{f['encode_peak_mib']:,}" if "encode_peak_mib" in f else "-",
        ]
        bar = f'<td class="bar"><i style="width:{100 * f["bytes"] / most:.2f}%"></i></td>'
        kind = ' class="mine"' if title == content.title else ""
        rows.append(f"<tr{kind}>{_cells(cells[:2])}{bar}{_cells(cells[2:])}</tr>")
    heads = ("format", "bytes", "", "bpd", "ratio", "encode Mpx/s", "decode Mpx/s", "peak MiB")
    return (
        f"<h2>Sizes</h2>{_table(heads, rows)}"
        f'<p class="soft">Ratio: bytes over those of {escape(total["reference"])}. {speeds}</p>'
    )


def _speed(f: Mapping[str, Any], way: str) -> str:
    value = f"{f[f'{way}_mpx_s']:.3g}"
    if f.get(f"{way}_repeats", 1) == 1:
        return value
    return f'{value} <span class="soft">({f[f"{way}_low"]:.3g}-{f[f"{way}_high"]:.3g})</span>'


def _speeds(result: Mapping[str, Any]) -> str:
    plots = []
    for way, name in (("encode", "encoding"), ("decode", "decoding")):
        points = [
            charts.Point(title, result["formats"][title]["family"], f["bpd"], f[f"{way}_mpx_s"])
            for title, f in result["totals"]["formats"].items()
        ]
        plots.append(f"<figure>{charts.scatter(points, name)}</figure>")
    return (
        f'<h2>Size against speed</h2><div class="plots">{"".join(plots)}</div>'
        '<p class="soft">Lower and further right is better. The dashed line joins the formats that nothing '
        "beats in both size and speed.</p>"
    )


def _bound(total: Mapping[str, Any], coded_by: str) -> str:
    steps = []
    for step in explain(total):
        cells = _cells([step["step"], f"{step['bits']:+,.0f}", f"{step['bpd']:+.5f}"])
        steps.append(f'<tr>{cells}<td class="words">{escape(step["why"])}</td></tr>')
    cells = _cells(["file", f"{8 * total['file_bytes']:,}", f"{total['file_bpd']:.5f}"])
    whole = f"{total['file_bytes']:,} bytes, {total['above_vlb_percent']:+.2f} % on the VLB"
    steps.append(f'<tr class="mine">{cells}<td class="words">{whole}</td></tr>')
    most = max(max(row["vlb_bpd"], row["coded_bpd"]) for row in total["rows"]) or 1
    rows = []
    for row in total["rows"]:
        left = [
            "top" if row["scale"] is None else f"{row['scale']} {row['band']}",
            str(row["level"]),
            f"{row['vlb_bpd']:.4f}",
            "-" if row["vlb_se"] is None else f"{row['vlb_se']:.4f}",
            f"{row['coded_bpd']:.4f}",
        ]
        ends = [calibration(row, key) for key in ("network_calibration", "calibration")]
        bars = "".join(
            f'<i style="width:{max(0.0, 100 * row[key] / most):.2f}%"></i>'
            for key in ("vlb_bpd", "coded_bpd")
        )
        rows.append(f'<tr>{_cells(left)}<td class="bar pair">{bars}</td>{_cells(ends)}</tr>')
    said = "".join(f'<p class="warn">{escape(text)}</p>' for text in total["findings"])
    good = "<p>Coded bits agree with the bound, and residuals with their scales.</p>"
    parts = ", ".join(f"{name} {size:,}" for name, size in total["parts"].items())
    heads = ("scale, band", "level", "VLB bpd", "± s.e.", "coded bpd", "", "cal. network", "cal. coder")
    return (
        f'<h2>From the bound to the file</h2><p class="soft">{escape(coded_by)}</p>'
        f"{_table(('', 'bits', 'bpd', 'why'), steps)}"
        f'<p class="soft">Bytes of all files: {escape(parts)}.</p>{said or good}'
        f"<h3>By scale, band and level</h3>{_table(heads, rows)}"
        '<p class="soft">Scale 0 is the finest. Level 0 is the band itself, levels above are latents. '
        "Bars: VLB grey, coded bits in colour. Calibration: mean squared residuals over their variance, 1 "
        "expected: as the network predicts, and as the coder's adapted statistics do; in brackets where "
        f"fewer than {FEW:,} positions make it chance.</p>"
    )


def _methods(content: Content) -> str:
    count = content.result["totals"]["images"]
    if not content.classical:
        which = "the image" if count == 1 else f"all {count} images"
        text = f"None: {escape(content.title)} coded {which} by diffusion."
        return f"<h2>Images that went to a classical method</h2><p>{text}</p>"
    rows = [
        f"<tr>{_cells([escape(row['image']), row['method']])}"
        f'<td class="words">{escape(row["reason"])}</td></tr>'
        for row in content.classical
    ]
    table = _table(("image", "method", "why"), rows)
    return f"<h2>Images that went to a classical method</h2><p>{len(rows)} of {count}.</p>{table}"


def _images(content: Content) -> str:
    titles = list(content.result["totals"]["formats"])
    rows = []
    for image in content.result["images"]:
        sizes = {title: image["formats"][title]["bytes"] for title in titles}
        least = min(sizes.values())
        cells = "".join(
            f"<td{' class=best' if size == least else ''}>{size:,}</td>" for size in sizes.values()
        )
        shape = f"{image['width']}x{image['height']}"
        rows.append(f"<tr><td>{escape(image['image'])}</td><td>{shape}</td>{cells}</tr>")
    return f"<h2>Bytes by image</h2>{_table(('image', 'size', *titles), rows)}"


def _how(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    threads = ", ".join(f"{title} {f['threads']}" for title, f in result["formats"].items())
    once = [t for t, f in result["totals"]["formats"].items() if f["encode_repeats"] == 1 < result["repeats"]]
    left = "".join(
        f"<p>Left out: {escape(each['image'])}, {escape(each['reason'])}</p>" for each in result["skipped"]
    )
    times = "once" if result["repeats"] == 1 else f"{result['repeats']} times"
    slow = f" Encoded once, because slow: {', '.join(once)}." if once else ""
    return (
        "<h2>How it was measured</h2>"
        f"<p>Each format in a process of its own, by turns on each image, {times}.{slow} "
        "vdmc encodes without its check by decoding, as the others do; peak memory is that of the whole "
        "process.</p>"
        f'<p class="soft">Threads: {escape(threads)}. Versions: {escape(versions)}.</p>{left}'
    )


def _cells(cells: Sequence[str]) -> str:
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(
        f'<th scope="col"{" class=words" if head in ("why",) else ""}>{escape(head)}</th>' for head in heads
    )
    head, body = f"<thead><tr>{cells}</tr></thead>", f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="wide"><table>{head}{body}</table></div>'
