"""From the bits of single images (`evaluate.evaluate`) to bits per dimension of a set, with what they mean.

Figures of a set are ratios of sums: bits over values.  Their standard error is that of a ratio estimator over
images taken as a random sample: sqrt(n / (n - 1) * sum (b_i - R v_i)^2) / sum v_i for bits b and values v.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from vdmcompress.api import by_diffusion
from vdmcompress.cascade import encode_pixels
from vdmcompress.classical import encode_classical
from vdmcompress.container import file_length
from vdmcompress.engine import default_threads
from vdmcompress.errors import UnsupportedImageError
from vdmcompress.evaluate import evaluate
from vdmcompress.header import Header, Kind
from vdmcompress.measure.anatomy import file_parts
from vdmcompress.model_file import Model
from vdmcompress.path import ORDERS
from vdmcompress.picture import Picture, pixel_crc

GAP: Final = 0.005
"""Coded bits of a set may be so far from the VLB: grids, tables and one draw of the latents take less."""

DIRECT_GAP: Final = 0.002
"""The same for levels that are coded without latents; 0.0003 is usual."""

CALIBRATED: Final = (0.6, 1.6)
"""Mean squared normalised residuals that pass; scales that are a quarter off are just within."""

FEW: Final = 10_000
"""Positions below which a level's calibration and gap are chance, and are not judged."""

HEAVY: Final = {"payload", "alpha", "metadata"}
"""Parts of a file that are neither header nor checksum."""


def evaluate_picture(
    picture: Picture,
    model: Model,
    device: str,
    threads: int,
    latents: Sequence[str],
    progress: Callable[[float], None] | None = None,
    colour: str = "auto",
) -> dict[str, Any]:
    """Code a picture with the diffusion model: bits by scale, band and level, and the bytes of its file.

    latents: keys of `path.ORDERS`; of several the smallest payload counts.  threads: 0 for all processors.
    progress: called with the share of the work that is done.  colour: of `path.COLOURS`.
    Raises UnsupportedImageError for what diffusion does not code, and what `encode_pixels` raises.
    """
    if not by_diffusion(picture):
        raise UnsupportedImageError(f"{picture.name} is not coded by diffusion; 8-bit grey and RGB are")
    count, pixels = threads or default_threads(), np.asarray(picture.colour, np.uint8)
    stages = len(latents) + 1

    def stage(index: int, share: float) -> None:
        if progress is not None:
            progress((index + share) / stages)

    tried = []
    for index, way in enumerate(latents):

        def encoding(done: float, total: float, _: str, index: int = index) -> None:
            stage(index, done / total)

        tried.append(encode_pixels(pixels, model, count, encoding, device, ORDERS[way], colour=colour))
    encoded = min(tried, key=lambda each: sum(map(len, each.lanes)))
    result = evaluate(pixels, model, count, device, encoded, lambda share: stage(stages - 1, share))
    parts, kind = list(encoded.lanes), None
    if picture.alpha is not None:
        kind, plane = encode_classical(picture.alpha)
        parts.insert(0, plane)
    header = Header(
        Kind.DIFFUSION,
        picture.width,
        picture.height,
        picture.mode.channels,
        pixel_crc(picture),
        model.hash8,
        encoded.plan,
        len(encoded.lanes),
        alpha=kind,
        chunks=picture.chunks,
    )
    return summarise(
        {
            "model": model.name,
            "file_bytes": file_length(header, parts),
            "parts": file_parts(header, [len(part) for part in parts]),
            **result,
        }
    )


def summarise(record: Mapping[str, Any]) -> dict[str, Any]:
    """Add to bits and bytes of an image: bits per dimension, how far the file is above the VLB, findings."""
    values = record["width"] * record["height"] * record["channels"]
    rows = [
        {**row, "vlb_bpd": row["vlb_bits"] / values, "coded_bpd": row["coded_bits"] / values}
        for row in record["rows"]
    ]
    found = {
        **record,
        "values": values,
        "vlb_bpd": record["vlb_bits"] / values,
        "coded_bpd": record["coded_bits"] / values,
        "file_bpd": 8 * record["file_bytes"] / values,
        "gap_percent": above(record["coded_bits"], record["vlb_bits"]),
        "above_vlb_percent": above(8 * record["file_bytes"], record["vlb_bits"]),
        "rows": rows,
    }
    return {**found, "findings": findings(found)}


def totals(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole set: bits over values with standard errors, by scale, band and level too, and bytes by part.

    plans: how many images each served.  Calibrations are means over all positions.
    """
    sizes = [record["values"] for record in records]
    values = sum(sizes)
    vlb, coded, heads = (sum(r[key] for r in records) for key in ("vlb_bits", "coded_bits", "head_bits"))
    size = sum(r["file_bytes"] for r in records)
    parts: Counter[str] = Counter()
    for record in records:
        parts.update(record["parts"])
    found = {
        "files": len(records),
        "values": values,
        "file_bytes": size,
        "vlb_bits": vlb,
        "coded_bits": coded,
        "head_bits": heads,
        "parts": dict(parts),
        "vlb_bpd": vlb / values,
        "vlb_se": standard_error([r["vlb_bits"] for r in records], sizes),
        "coded_bpd": coded / values,
        "coded_se": standard_error([r["coded_bits"] for r in records], sizes),
        "file_bpd": 8 * size / values,
        "file_se": standard_error([8 * r["file_bytes"] for r in records], sizes),
        "gap_percent": above(coded, vlb),
        "above_vlb_percent": above(8 * size, vlb),
        "plans": {str(plan): count for plan, count in sorted(Counter(r["plan"] for r in records).items())},
        "rows": _rows(records, sizes),
    }
    return {**found, "findings": findings(found)}


def _rows(records: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Sums of all images by scale, band and level; an image without a row has no bits there."""
    keys: dict[tuple[Any, ...], None] = {}
    tables = [{(r["scale"], r["band"], r["level"]): r for r in record["rows"]} for record in records]
    for table in tables:
        keys |= dict.fromkeys(table)
    values, rows = sum(sizes), []
    order = ("HL", "LH", "HH", "top").index
    for scale, band, level in sorted(keys, key=lambda k: (k[0] is None, k[0] or 0, order(k[1]), k[2])):
        found = [table.get((scale, band, level)) for table in tables]
        vlb, coded = ([row[key] if row else 0.0 for row in found] for key in ("vlb_bits", "coded_bits"))
        here = [row for row in found if row]
        positions = sum(row["positions"] for row in here)
        row = {
            "scale": scale,
            "band": band,
            "level": level,
            "values": sum(row["values"] for row in here),
            "positions": positions,
            "drawn": any(row["drawn"] for row in here),
            "vlb_bits": sum(vlb),
            "coded_bits": sum(coded),
            "vlb_bpd": sum(vlb) / values,
            "vlb_se": standard_error(vlb, sizes),
            "coded_bpd": sum(coded) / values,
            "coded_se": standard_error(coded, sizes),
        }
        for key in ("calibration", "network_calibration"):
            sums = sum(r[key] * r["positions"] for r in here if r[key] is not None)
            row[key] = sums / positions if positions and any(r[key] is not None for r in here) else None
        rows.append(row)
    return rows


def standard_error(bits: Sequence[float], values: Sequence[int]) -> float | None:
    """Of sum(bits) / sum(values) over images, in bits per dimension; None for one image."""
    n, total = len(bits), sum(values)
    if n < 2:
        return None
    ratio = sum(bits) / total
    squares = sum((b - ratio * v) ** 2 for b, v in zip(bits, values, strict=True))
    return math.sqrt(n / (n - 1) * squares) / total


def above(bits: float, vlb: float) -> float:
    """How far bits are above the VLB, in per cent."""
    return 100 * (bits / vlb - 1) if vlb > 0 else float("inf")


def findings(found: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, in words: gaps between VLB and coded bits, scales that are off."""
    said = []
    if found["vlb_bits"] and sum(row["positions"] for row in found["rows"]) >= FEW:
        gap = found["gap_percent"]
        if abs(gap) > 100 * GAP:
            said.append(
                f"the coder spends {gap:+.2f} % against the VLB, allowed are {100 * GAP:g} %: it does not "
                "code with the distributions that the network gives"
            )
    for name, row in judged_together(found["rows"]):
        allowed = slack(row)
        if row["positions"] >= FEW and abs(row["coded_bits"] - row["vlb_bits"]) > allowed:
            said.append(
                f"{name}: coded {row['coded_bits']:,.0f} bits, VLB {row['vlb_bits']:,.0f}, allowed are "
                f"{allowed:,.0f} between them: other scales or means are coded with than the network gives"
            )
    for row in found["rows"]:
        name = f"scale {row['scale']}, {row['band']}, level {row['level']}"
        if row["positions"] < FEW:
            continue
        for key, whose in (("network_calibration", "the network's"), ("calibration", "the coder's")):
            known = row[key]
            if known is not None and not CALIBRATED[0] <= known <= CALIBRATED[1]:
                factor = math.sqrt(known)
                way = f"{1 / factor:.2f} times too wide" if factor < 1 else f"{factor:.2f} times too narrow"
                said.append(f"{name}: {whose} scales are {way} (calibration {known:.3f}, 1 expected)")
    return said


def judged_together(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Names and sums of the levels whose coded bits can be held against their bound.

    Level 0 is one of them.  The latents of a band are another, all together: the bound gives each level
    KL(q(z_k | z_{k+1}, d) || p), the coder pops it from q(z_k | z_{k-1}), and only over the chain are the two
    factorisations of q the same.
    """
    together: dict[str, dict[str, Any]] = {}
    for row in rows:
        latents = row["level"] is not None and row["level"] > 0
        name = f"scale {row['scale']}, {row['band']}, {'latents' if latents else 'level 0'}"
        known = together.setdefault(name, {**row, "values": 0, "vlb_bits": 0.0, "coded_bits": 0.0})
        for key in ("values", "vlb_bits", "coded_bits"):
            known[key] += row[key]
        known["drawn"] = known["drawn"] or row["drawn"]
    return list(together.items())


def calibration(row: Mapping[str, Any], key: str) -> str:
    """A row's calibration as it is shown: in brackets where it is chance."""
    known = row[key]
    if known is None:
        return "-"
    return f"{known:.3f}" if row["positions"] >= FEW else f"({known:.2f})"


def slack(row: Mapping[str, Any]) -> float:
    """Bits by which a level's coded bits may be off its VLB.

    Where a band has latents, those that were drawn cost more or less than on average: a bit or two a value,
    so that over n values it is some sqrt(n), and grids take their share.  Without latents the code lengths
    differ from the bound by the coder's integers only, so that much less is allowed.
    """
    share, chance = (GAP, 5 * math.sqrt(row["values"])) if row["drawn"] else (DIRECT_GAP, 16.0)
    return float(share * abs(row["vlb_bits"]) + chance)


def explain(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From the VLB to the file, step by step: bits, bpd, and why; the bits sum to those of the file."""
    values, parts = found["values"], found["parts"]
    frame = sum(size for name, size in parts.items() if name not in HEAVY)
    steps = [
        ("VLB", found["vlb_bits"], "what the model promises, on average over the noise of the latents"),
        (
            "coding",
            found["coded_bits"] - found["vlb_bits"],
            "integers in place of densities (grids of the latents, tables of the coder), and the one draw of "
            "latents that was made",
        ),
        (
            "heads",
            found["head_bits"],
            "the lanes of the stack end with their states, which are written as whole bytes",
        ),
        (
            "header",
            8 * frame,
            "signature, size, model, plan, lengths of the lanes and two checksums: " + f"{frame:,} bytes",
        ),
    ]
    for name, why in (
        ("metadata", "profiles, text and the like, compressed"),
        ("alpha", "coded classically"),
    ):
        if name in parts:
            steps.append((name, 8 * parts[name], why))
    return [{"step": name, "bits": bits, "bpd": bits / values, "why": why} for name, bits, why in steps]
