"""What comes back of every file of a folder: the table of docs/fidelity.md.

    python -m benchmarks.fidelity FOLDER [--model FILE] [--out docs/fidelity.md]

Each file is read, encoded, decoded and written as a PNG. Other programs than the reader of vdmc then compare
the file with that PNG: pixels by imagecodecs (or Pillow, where it knows no such file), chunks by a walk over
the bytes, ICC profile, EXIF and XMP of other formats by Pillow.
"""

import argparse
import io
import os
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress import api
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError, VdmError
from vdmcompress.image_io import read_picture
from vdmcompress.image_output import write_picture
from vdmcompress.picture import Picture, difference

REFUSALS = {
    UnsupportedImageError: "unsupported (2)",
    DamagedFileError: "damaged (3)",
    LimitError: "beyond a limit (5)",
}
"""Kinds of refusal, with their exit codes."""

FAST = 1
"""Effort: which payload is the smallest is not the question here."""

PNG_START = 8
BITS, PHOTOMETRIC = 258, 262
TAGS = (270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 33432)
"""Descriptive tags of a TIFF: title, camera, orientation, resolution, program, date, artist, rights."""

BLOCKS = ("icc_profile", "exif", "xmp")


@dataclass(frozen=True)
class Result:
    """One file.  group: how it was kept or why it was refused.

    judge: who compared the pixels, "" if refused.  fault: what did not come back, "" if all did.
    """

    name: str
    group: str
    judge: str = ""
    fault: str = ""
    size: int = 0
    coded: int = 0


def check(path: Path, name: str, model: str | None) -> Result:
    """Send a file through vdmc and compare what comes back."""
    data = path.read_bytes()
    try:
        picture = read_picture(io.BytesIO(data))
    except VdmError as error:
        why = str(error).split(";")[0].removeprefix("unsupported image: ").removeprefix("damaged image: ")
        return Result(name, f"{REFUSALS.get(type(error), 'refused')}: {why}")
    coded = api.encode(picture, model=model, effort=FAST, verify=False)
    back = api.decode_picture(coded)
    written, lost = write_picture(back, "png")
    judge, fault = compare(data, written)
    fault = difference(back, picture) or fault or (f"not written: {', '.join(lost)}" if lost else "")
    return Result(name, _group(data, picture), judge, fault, len(data), len(coded))


def compare(source: bytes, written: bytes) -> tuple[str, str]:
    """(who compared the pixels, what differs or "") of a file and of the PNG made of it."""
    if source[:PNG_START] == written[:PNG_START] and png_parts(source) != png_parts(written):
        return "", "header or chunks of the PNG differ"
    if source[:PNG_START] != written[:PNG_START]:
        fault = _blocks_differ(source, written)
        if fault:
            return "", fault
    judge, one, other = _pixels(source, written)
    same = one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one, other)
    return judge, "" if same else f"pixels differ ({judge})"


def png_parts(data: bytes) -> tuple[Any, ...]:
    """Header of a PNG without its interlacing, chunks in order with the place of the pixels, what follows."""
    at, parts = PNG_START, list[tuple[bytes, bytes]]()
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + length]
        at += length + 12
        if kind == b"IHDR":
            content = content[:-1]
        if kind == b"IEND":
            return (*parts, data[at:])
        entry = (kind, b"" if kind == b"IDAT" else content)
        if kind != b"IDAT" or entry not in parts:
            parts.append(entry)


def _blocks_differ(source: bytes, written: bytes) -> str:
    """Which of ICC profile, EXIF and XMP differs for Pillow."""
    with Image.open(io.BytesIO(source)) as one, Image.open(io.BytesIO(written)) as other:
        other.load()
        for key in BLOCKS:
            if one.format == "TIFF" and key == "exif":  # made of tags, which a TIFF has in another place
                if any(one.getexif().get(tag) != other.getexif().get(tag) for tag in TAGS):
                    return "descriptive tags differ"
                continue
            met, wanted = (_block(image.info.get(key), key) for image in (other, one))
            if met != wanted:
                return f"{key} differs"
        if one.info.get("transparency") is not None and one.format == "GIF":
            first, second = (np.asarray(image.convert("RGBA"))[..., 3] for image in (one, other))
            if not np.array_equal(first, second):
                return "transparency differs"
    return ""


def _block(value: Any, key: str) -> bytes:
    data = value.encode() if isinstance(value, str) else value or b""
    return data.removeprefix(b"Exif\0\0") if key == "exif" else data


def _pixels(source: bytes, written: bytes) -> tuple[str, NDArray[Any], NDArray[Any]]:
    """(who read both, pixels of the source, pixels of the PNG), brought to the same layout."""
    import imagecodecs

    starts: dict[bytes, Callable[[bytes], NDArray[Any]]] = {
        b"\x89PNG": imagecodecs.png_decode,
        b"\xff\xd8\xff": imagecodecs.jpeg8_decode,
        b"RIFF": imagecodecs.webp_decode,
        b"II": _tiff,
        b"MM": _tiff,
        b"BM": imagecodecs.bmp_decode,
        b"GIF8": imagecodecs.gif_decode,
        b"qoif": imagecodecs.qoi_decode,
    }
    decode = next((function for start, function in starts.items() if source.startswith(start)), None)
    if decode is not None:
        try:
            one, other = _layout(decode(source)), _layout(imagecodecs.png_decode(written))
        except (RuntimeError, ValueError, NotImplementedError):
            one = other = np.zeros(0)
        if one.size and one.shape == other.shape and one.dtype == other.dtype:
            if source.startswith(b"GIF8") and one.shape[2] == 4:  # where it gives clear pixels no colour
                one, other = (pixels * (pixels[:, :, 3:] > 0) for pixels in (one, other))
            return "imagecodecs", one, other
    arrays = []
    for data in (source, written):
        with Image.open(io.BytesIO(data)) as image:
            deep = image.mode.startswith("I")
            arrays.append(np.asarray(image.convert("I" if deep else "RGBA")))
    return "Pillow", arrays[0], arrays[1]


def _tiff(data: bytes) -> NDArray[Any]:
    """Samples of a TIFF from black to white, those of few bits scaled to 0..255."""
    import imagecodecs

    pixels = np.asarray(imagecodecs.tiff_decode(data))
    with Image.open(io.BytesIO(data)) as image:
        tags = dict(getattr(image, "tag_v2", {}))
    bits, white_is_zero = tags.get(BITS, (1,))[0], tags.get(PHOTOMETRIC) == 0
    if bits < 8:
        pixels = pixels.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    return np.iinfo(pixels.dtype).max - pixels if white_is_zero else pixels


def _layout(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3 or 4), as the decoders of imagecodecs give grey, bits and palettes in different ways."""
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] < 3:
        pixels = np.concatenate([pixels[:, :, :1]] * 3 + [pixels[:, :, 1:]], axis=2)
    return pixels


def _group(data: bytes, picture: Picture) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return f"{image.format}: {picture.name}"


def table(results: Iterable[Result]) -> str:
    """The text of docs/fidelity.md."""
    results = list(results)
    kept = [r for r in results if r.judge and not r.fault]
    wrong = [r for r in results if r.fault]
    refused = [r for r in results if not r.judge and not r.fault]
    lines = [
        f"{len(results)} files: {len(kept)} came back exactly, with mode, depth and metadata; "
        f"{len(refused)} are refused by name; {len(wrong)} came back otherwise.",
        "",
        f"The kept ones have {sum(r.size for r in kept):,} bytes, their .vdm files "
        f"{sum(r.coded for r in kept):,}.",
        "",
        "## Kept",
        "",
        "| format: mode | files | compared by | names |",
        "|---|---:|---|---|",
    ]
    for group, members in _grouped(kept):
        judges = ", ".join(sorted({r.judge for r in members}))
        lines.append(f"| {group} | {len(members)} | {judges} | {_names(members)} |")
    lines += ["", "## Refused", "", "| why (exit code) | files | names |", "|---|---:|---|"]
    lines += [f"| {group} | {len(members)} | {_names(members)} |" for group, members in _grouped(refused)]
    if wrong:
        lines += ["", "## Wrong", "", *(f"- {r.name}: {r.fault}" for r in wrong)]
    return "\n".join(lines) + "\n"


def _grouped(results: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.group].append(result)
    return sorted(groups.items())


def _names(results: Iterable[Result]) -> str:
    return ", ".join(r.name for r in results)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.fidelity", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="model file; default the shipped one")
    parser.add_argument("--out", type=Path, help="file whose text after the marker is replaced")
    options = parser.parse_args()
    if options.model is not None:
        os.environ["VDMC_MODEL_PATH"] = str(options.model.parent)
    model = None if options.model is None else str(options.model)
    results = []
    for path in sorted(p for p in options.folder.rglob("*") if p.is_file()):
        results.append(check(path, path.relative_to(options.folder).as_posix(), model))
        print(results[-1].name, results[-1].fault or results[-1].group, file=sys.stderr)
    text = table(results)
    if options.out is None:
        print(text, end="")
    else:
        before = options.out.read_text().split(MARKER)[0]
        options.out.write_text(f"{before}{MARKER}\n\n{text}")
    sys.exit(any(r.fault for r in results))


MARKER = "<!-- made by python -m benchmarks.fidelity -->"

if __name__ == "__main__":
    main()
