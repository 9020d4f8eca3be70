"""The README's table of results, made from benchmarks/results/*.json so that the two cannot differ.

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
BEGIN, END = "<!-- results -->", "<!-- /results -->"


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All results of whole image sets, by name; other benchmarks' files in the folder have no totals."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [result for result in found if "totals" in result]


def render(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one table a set, with what it was measured on."""
    return "\n\n".join(_set(result) for result in results) or UNMEASURED


def _set(result: dict[str, Any]) -> str:
    total, machine = result["totals"], result["machine"]
    lines = [
        f"**{result['name']}**: {total['images']} images, {total['mpx']:.2f} Mpx. "
        f"{machine['cpu']}, {machine['cores']} cores; {result['date']}.",
        "",
        "| format | bytes | bpd | encode Mpx/s | decode Mpx/s |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {f['bytes']:,} | {f['bpd']:.3f} | {f['encode_mpx_s']:.2f} | {f['decode_mpx_s']:.2f} |"
        for name, f in total["formats"].items()
    ]
    checked = result["vdmc"].get("encode_verified")
    if checked:
        rate = total["mpx"] / checked["files_seconds"]
        lines += ["", f"vdmc's encoding with its check by decoding: {rate:.2f} Mpx/s."]
    return "\n".join(lines)


def replace(readme: str, block: str) -> str:
    """The README's text with ``block`` between the markers; ValueError where they are not there once."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README needs one {BEGIN} and one {END}")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def main() -> int:
    """Rewrite the README's table."""
    README.write_text(replace(README.read_text(), render(load())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
