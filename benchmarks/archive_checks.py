"""What an archive must show besides its size (`archive_curve.py`): bound, images by name, a damaged group."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.resumable import Progress, Record
from cli.main import cli
from vdmcompress.archive.group import GroupParts, unpack_group
from vdmcompress.archive.reader import Archive
from vdmcompress.batch_evaluate import batch_vlb
from vdmcompress.engine import Engine, default_threads
from vdmcompress.header import Limits
from vdmcompress.image_io import read_picture
from vdmcompress.measure.formats import Pixels
from vdmcompress.model_search import find_model
from vdmcompress.picture import Picture, array_picture, difference, pixel_crc

BY_NAME = 500
Named = list[tuple[str, Pixels]]


def bound(path: Path, images: Named, kept: Record, progress: Progress) -> dict[str, Any]:
    """VLB of what diffusion codes, what codes it, and the whole file against it.

    What is coded by itself (singles) counts with its bytes on both sides.  Bits of bands that `kept` has
    already are not computed again.  Raises ValueError where the archive does not hold these images.
    """
    pixels = dict(images)
    bands: dict[str, float] = dict(kept.figures.get("vlb bands", {}))
    singles = lanes = alone = 0
    with Archive(path) as archive:
        for number in range(len(archive.groups)):
            parts = unpack_group(archive.group_record(number), Limits())
            singles += 8 * sum(map(len, parts.singles))
            alone += len(parts.singles)
            if parts.coded is None:
                continue
            lanes += 8 * sum(map(len, parts.coded.lanes))
            start = f"{number}: "
            there = {key.removeprefix(start) for key in bands if key.startswith(start)}
            with Engine(find_model(parts.coded.model), default_threads()) as engine:
                for label, bits, share in batch_vlb(
                    _batches(parts, pixels), parts.coded.plan, engine, 0, there
                ):
                    bands[start + label] = bits
                    kept.put("vlb bands", bands)
                    progress(number + share, len(archive.groups), "bands")
        size, values, groups = archive.size, sum(m.values for m in archive.members()), len(archive.groups)
    bits = sum(bands.values())
    return {
        "images": len(images),
        "groups": groups,
        "bytes": size,
        "vlb_bits": round(bits),
        "lane_bits": lanes,
        "single_bits": singles,
        "singles": alone,
        "vlb_bpd": (bits + singles) / values,
        "file_bpd": 8 * size / values,
        "coded_above_percent": 100 * (lanes / bits - 1) if bits else 0.0,
        "above_percent": 100 * (8 * size / (bits + singles) - 1),
    }


def _batches(parts: GroupParts, pixels: Mapping[str, Pixels]) -> list[Pixels]:
    """Pixels of the batches of a group."""
    together = parts.members[: len(parts.chunks)]
    crcs = (struct.pack("<I", pixel_crc(array_picture(pixels[member.name]))) for member in together)
    if zlib.crc32(b"".join(crcs)) != parts.pixel_crc:
        raise ValueError(f"the group of {together[0].name} holds other images than those of this name")
    batches, at = [], 0
    for shape in parts.shapes:
        batches.append(np.stack([pixels[member.name] for member in together[at : at + shape.count]]))
        at += shape.count
    return batches


def by_name(path: Path, images: Named) -> dict[str, Any]:
    """Some images by name, compared in pixels, mode, depth and metadata; how much is decoded for them.

    shares: bytes of the groups that hold them against the file, for these images, for as many neighbours, and
    for one image.
    """
    chosen = random.Random(0).sample(images, min(BY_NAME, len(images)))
    start = time.perf_counter()
    with Archive(path) as archive:
        found = dict(archive.pictures(name for name, _ in chosen))
        seconds = time.perf_counter() - start
        equal = sum(difference(found[name], array_picture(pixels)) is None for name, pixels in chosen)
        near = [name for name, _ in images[: len(chosen)]]
        shares = [_share(archive, names) for names in ([n for n, _ in chosen], near, near[:1])]
    keys = ("share", "share_of_neighbours", "share_of_one")
    figures = {"images": len(chosen), "equal": equal, "seconds": round(seconds, 1)}
    return figures | dict(zip(keys, shares, strict=True))


def _share(archive: Archive, names: list[str]) -> float:
    """Bytes of the groups that hold these names against the file."""
    wanted = set(names)
    held = [wanted & {m.name for m in archive.group_members(n)} for n in range(len(archive.groups))]
    groups = zip(archive.groups, held, strict=True)
    return sum(group.length for group, some in groups if some) / archive.size


def damaged(path: Path, images: Named, folder: Path) -> dict[str, Any]:
    """One byte of the payload of a group altered, all of it extracted by the command line, and compared.

    lost: images that were not written; in_group: those of the damaged group; unsaid: lost without a word.
    """
    with tempfile.TemporaryDirectory(dir=folder if folder.is_dir() else None) as place:
        bad, out, said = Path(place) / "bad.vdma", Path(place) / "out", io.StringIO()
        with Archive(path) as archive:
            number = len(archive.groups) // 2
            group = archive.groups[number]
            inside = {member.name for member in archive.group_members(number)}
            groups = len(archive.groups)
        data = bytearray(path.read_bytes())
        data[group.offset + group.length // 2] ^= 1
        bad.write_bytes(data)
        with redirect_stdout(said), redirect_stderr(said):
            code = cli(["archive", "extract", str(bad), "-O", str(out)], standalone_mode=False)
        lost, equal = set(), 0
        for name, pixels in images:
            if (out / name).is_file():
                equal += _same(out / name, array_picture(pixels))
            else:
                lost.add(name)
        unsaid = [name for name in lost if f"lost: {name}" not in said.getvalue()]
    return {
        "images": len(images),
        "groups": groups,
        "exit_code": code,
        "lost": len(lost),
        "in_group": len(inside),
        "others_lost": len(lost - inside),
        "unsaid": len(unsaid),
        "equal": equal,
    }


def _same(path: Path, want: Picture) -> bool:
    return difference(read_picture(path), want) is None


def told(part: str, figures: dict[str, Any]) -> str:
    """A line on one of the parts."""
    if part == "vlb":
        return (
            f"VLB of {figures['images']} images in {figures['groups']} groups: {figures['vlb_bpd']:.4f} bpd, "
            f"coded {figures['coded_above_percent']:+.3f} %, file {figures['file_bpd']:.4f} bpd, "
            f"{figures['above_percent']:+.3f} %"
        )
    if part == "names":
        return (
            f"by name: {figures['equal']} of {figures['images']} equal, {figures['seconds']} s; decoded "
            f"{100 * figures['share']:.0f} % of the file, for as many neighbours "
            f"{100 * figures['share_of_neighbours']:.0f} %, for one {100 * figures['share_of_one']:.0f} %"
        )
    return (
        f"one of {figures['groups']} groups damaged: exit code {figures['exit_code']}, "
        f"{figures['lost']} lost of {figures['in_group']} in it ({figures['others_lost']} others, "
        f"{figures['unsaid']} unsaid), {figures['equal']} of {figures['images']} extracted and equal"
    )
