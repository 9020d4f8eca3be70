"""What moved between two records of `measure.bench`: bytes exactly, speeds where they left their spread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vdmcompress.errors import UsageError
from vdmcompress.measure.summary import totals

_RECORD: Final = {"date", "machine", "versions", "totals", "images"}
_ROW: Final = {"bytes", "encode_seconds", "decode_seconds"}

LARGEST: Final = 5
"""Images whose sizes moved most are named, so many."""


def read_record(path: Path) -> dict[str, Any]:
    """A record that was kept; UsageError where the file holds none, OSError where it cannot be read."""
    try:
        found = json.loads(path.read_text())
        rows = [row for image in found["images"] for row in image["formats"].values()]
        if not all(row.keys() >= _ROW for row in rows) or not found.keys() >= _RECORD:
            raise KeyError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is no record of vdmc bench; make one with vdmc bench -o FILE") from error
    return dict(found)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What moved, by format, over the images and formats that both records have.

    bytes, bytes_percent: new over old.  encode, decode: ratio of speeds, and whether the new speed lies
    beyond the spread of both runs; None on other machines or threads, whose speeds are not comparable.
    """
    before = {image["image"]: image for image in old["images"]}
    after = {image["image"]: image for image in new["images"] if image["image"] in before}
    notes = []
    other = [name for name, image in after.items() if _other_pixels(before[name], image)]
    if other:
        notes.append(f"other pixels than before under the same name, left out: {', '.join(other)}")
        after = {name: image for name, image in after.items() if name not in other}
    missing = len(before) - len(after) - len(other)
    if missing:
        notes.append(f"{missing} images of the baseline are not in this run")
    first: Mapping[str, Any] = next(iter(after.values()), {"formats": {}})
    shared = [f for f in first["formats"] if all(f in before[name]["formats"] for name in after)]
    gone = [f for f in old["totals"]["formats"] if f not in shared]
    if gone:
        notes.append(f"formats of the baseline that are not in both: {', '.join(gone)}")
    same_machine = all(old.get(key) == new.get(key) for key in ("machine", "threads"))
    if not same_machine:
        notes.append("another machine or number of threads: speeds are not compared")
    changed = [n for n, v in old.get("versions", {}).items() if new["versions"].get(n, v) != v]
    if changed:
        pairs = (f"{n} {old['versions'][n]} -> {new['versions'][n]}" for n in changed)
        notes.append(f"versions: {', '.join(pairs)}")
    sums = [totals([_only(images[name], shared) for name in after]) for images in (before, after)]
    formats: dict[str, Any] = {}
    largest = []
    for title in shared:
        was, now = (total["formats"][title] for total in sums)
        moves = [
            {"image": name, "format": title, "old": before[name]["formats"][title]["bytes"]}
            | {"new": image["formats"][title]["bytes"]}
            for name, image in after.items()
        ]
        moves = [move for move in moves if move["old"] != move["new"]]
        largest += moves
        formats[title] = {
            "bytes": now["bytes"] - was["bytes"],
            "bytes_percent": round(100 * (now["bytes"] / was["bytes"] - 1), 4),
            "images_changed": len(moves),
            "encode": _speed(was, now, "encode") if same_machine else None,
            "decode": _speed(was, now, "decode") if same_machine else None,
        }
    largest.sort(key=lambda move: -abs(move["new"] - move["old"]))
    return {
        "date": old["date"],
        "images": len(after),
        "formats": formats,
        "largest": largest[:LARGEST],
        "notes": notes,
    }


def _other_pixels(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    keys = ("width", "height", "channels", *(("crc",) if "crc" in old else ()))
    return any(old[key] != new[key] for key in keys)


def _only(image: Mapping[str, Any], titles: list[str]) -> dict[str, Any]:
    return {**image, "formats": {title: image["formats"][title] for title in titles}}


def _speed(old: Mapping[str, Any], new: Mapping[str, Any], way: str) -> dict[str, Any] | None:
    was, now = old[f"{way}_mpx_s"], new[f"{way}_mpx_s"]
    if not was:
        return None
    apart = new[f"{way}_low"] > old[f"{way}_high"] or new[f"{way}_high"] < old[f"{way}_low"]
    return {"ratio": round(now / was, 4), "beyond_spread": apart}
