"""Which images went to a classical method, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def classical_images(
    result: Mapping[str, Any], title: str, records: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Image, method and reason of every image that vdmc (``title``) did not code by diffusion.

    result: of `bench.run`.  records: by image name, what `evaluation.evaluate_picture` found of diffusion.
    """
    found = []
    for image in result["images"]:
        row = image["formats"][title]
        if row["kind"] == "diffusion":
            continue
        method = {"webp": "WebP", "png": "PNG"}[row["kind"]]
        record = records.get(image["image"])
        if record is None:
            reason = "it is smaller"
        elif record["file_bytes"] > row["bytes"]:
            reason = f"it takes {row['bytes']:,} bytes, diffusion would take {record['file_bytes']:,}"
        else:
            reason = "too smooth: diffusion's payload would be shorter than the format allows for its pixels"
        found.append({"image": image["image"], "method": method, "reason": reason})
    return found


def default_title(titles: Sequence[str], effort: int) -> str | None:
    """vdmc's row at an effort, or else any row of vdmc; None where vdmc was not measured."""
    mine = [title for title in titles if title.startswith("vdmc") and "checked" not in title]
    wanted = f"vdmc -e {effort}"
    return wanted if wanted in mine else next(iter(mine), None)
