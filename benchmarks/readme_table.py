"""The README's tables of results, made from benchmarks/results/*.json so that the two cannot differ.

python -m benchmarks.readme_table
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.kodak import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"
UNMEASURED = "`make bench IMAGES=folder` measures a folder of images and writes its table here."
RESULTS_MARK, EFFORTS_MARK = "results", "efforts"
EFFORTS_FILES = "efforts-"


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All results of whole image sets, by name; other benchmarks' files in the folder have no totals."""
    paths = [path for path in sorted(folder.glob("*.json")) if not path.name.startswith(EFFORTS_FILES)]
    found = [json.loads(path.read_text()) for path in paths]
    return [result for result in found if "totals" in result]


def render(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one table a set, with what it was measured on."""
    return "\n\n".join(_set(result) for result in results) or UNMEASURED


def render_efforts(folder: Path = RESULTS) -> str:
    """Markdown: size and speed at every effort, one table a set."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{EFFORTS_FILES}*.json"))]
    return "\n\n".join(_efforts(result) for result in found) or UNMEASURED


def _efforts(result: dict[str, Any]) -> str:
    title = f"**{result['name']}**, whole images in one process"
    return "\n".join(_table(title, result["totals"], result))


def _set(result: dict[str, Any]) -> str:
    lines, total = _table(f"**{result['name']}**", result["totals"], result), result["totals"]
    checked = result.get("vdmc", {}).get("encode_verified")
    if checked:
        rate = total["mpx"] / checked["files_seconds"]
        lines += ["", f"vdmc's encoding with its check by decoding: {rate:.2f} Mpx/s."]
    return "\n".join(lines)


def _table(title: str, total: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """What was measured on what, and a row a format."""
    machine = result["machine"]
    rows = [
        f"| {name} | {f['bytes']:,} | {f['bpd']:.3f} | {f['encode_mpx_s']:.2f} | {f['decode_mpx_s']:.2f} |"
        for name, f in total["formats"].items()
    ]
    return [
        f"{title}: {total['images']} images, {total['mpx']:.2f} Mpx. "
        f"{machine['cpu']}, {machine['cores']} cores; {result['date']}.",
        "",
        "| format | bytes | bpd | encode Mpx/s | decode Mpx/s |",
        "|---|---:|---:|---:|---:|",
        *rows,
    ]


def replace(readme: str, mark: str, block: str) -> str:
    """The README's text with ``block`` between two comments; ValueError where they are not there once."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if readme.count(begin) != 1 or readme.count(end) != 1:
        raise ValueError(f"the README needs one {begin} and one {end}")
    before, rest = readme.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{block}\n{end}{after}"


def rewrite(readme: str) -> str:
    """The README's text with all tables as the results have them."""
    return replace(replace(readme, RESULTS_MARK, render(load())), EFFORTS_MARK, render_efforts())


def main() -> int:
    """Rewrite the README's tables."""
    README.write_text(rewrite(README.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
