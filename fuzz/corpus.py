"""The committed corpus: sound files of every kind with the tests' tiny model, and typical damaged ones.

    tests/data/corpus/sound/*.vdm      must decode, to the picture whose digest the table has
    tests/data/corpus/damaged/*.vdm    must be refused, with the error that the table has
    tests/data/corpus/expected.json    the table

`python -m fuzz.corpus` writes it anew; that is for a change of the format, or of what the corpus is to hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.chunks import MAX_CHUNKS, MAX_METADATA, Chunk
from vdmcompress.container import pack, unpack
from vdmcompress.header import Header, Kind
from vdmcompress.picture import Mode, Picture, array_picture, pixel_crc
from vdmcompress.png import png_of
from vdmcompress.wire import varint

Pixels = NDArray[np.uint8]
Samples = NDArray[Any]

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
CORPUS = DATA / "corpus"
TINY = DATA / "tiny.vdm.safetensors"
KIND_AT, METADATA_BIT = 5, 0x10
"""Place of the byte of kind and mode, and its bit that says that metadata follow."""


def sealed(body: bytes) -> bytes:
    """A body with the right checksum of the file, whatever it says."""
    return body + struct.pack("<I", zlib.crc32(body))


def picture(height: int, width: int, channels: int) -> Pixels:
    """Waves with some noise, uint8 (H, W, 3) or (H, W)."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(height * width).integers(-4, 5, (height, width, 3))
    waves = [np.sin(x / (7 + c)) * 60 + np.cos(y / (9 + c)) * 40 + 120 for c in range(3)]
    whole = np.clip(np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)
    return whole if channels == 3 else np.ascontiguousarray(whole[..., 0])


def stored_picture(height: int, width: int, number: int) -> Pixels:
    """What a program makes of YCC of a colour's number; one pixel was painted over."""
    from vdmcompress.colour import KINDS
    from vdmcompress.subsampling import FULL, half_shape, upsample
    from vdmcompress.ycc import to_rgb

    conversion, kind = KINDS[number]
    if conversion is None:
        raise ValueError(f"colour {number} is that of RGB, allowed are those of YCC")
    half = (height, width) if kind is FULL else half_shape(kind, height, width)
    chroma = [picture(*half, 1) // 8 + level for level in (130, 125)]
    if kind is not FULL:
        chroma = [upsample(plane, kind, height, width) for plane in chroma]
    stored = np.stack((picture(height, width, 1) // 2 + 50, *chroma), 2)
    pixels = to_rgb(stored.reshape(-1, 3), conversion).reshape(height, width, 3)
    pixels[3, 5] ^= 1
    return pixels


def digest(found: Picture) -> str:
    """SHA-256 of shape and pixels; where it is no plain 8-bit grey or RGB, of mode, depth and chunks too."""
    little = found.pixels.astype(found.pixels.dtype.newbyteorder("<"))
    out = hashlib.sha256(repr(little.shape).encode() + little.tobytes())
    if found.depth != 8 or found.mode not in (Mode.GREY, Mode.RGB) or found.chunks:
        out.update(bytes((found.mode, found.depth)))
    for chunk in found.chunks:
        out.update(chunk.kind + bytes((chunk.late,)) + varint(len(chunk.data)) + chunk.data)
    return out.hexdigest()


ORDERS: Final = {"one": (0, 1, 2), "all": (3, 4, 0, 1, 2), "none": (2,), "later": (15, 16, 2)}
"""Plans that are tried for a file; the first two are those of encoders before plans 15 to 20 were there."""


def diffusion_file(image: Samples | Picture, order: str = "one") -> bytes:
    """A file of kind diffusion with the tiny model, whatever its size; alpha is a part of its own."""
    from vdmcompress.cascade import encode_pixels
    from vdmcompress.classical import encode_classical
    from vdmcompress.model_file import read_model

    found = image if isinstance(image, Picture) else array_picture(image)
    model = read_model(TINY)
    encoded = encode_pixels(found.colour, model, 1, order=ORDERS[order])
    alpha, parts = None, list(encoded.lanes)
    if found.alpha is not None:
        alpha, plane = encode_classical(found.alpha)
        parts.insert(0, plane)
    header = replace(_header(Kind.DIFFUSION, found), model=model.hash8, plan=encoded.plan, alpha=alpha)
    return pack(replace(header, lanes=len(encoded.lanes)), parts)


def _header(kind: Kind, found: Picture) -> Header:
    indexed = found.mode is Mode.PALETTE
    size = (found.width, found.height, found.mode.channels)
    return Header(kind, *size, pixel_crc(found), depth=found.depth, indexed=indexed, chunks=found.chunks)


def _classical_file(image: Samples | Picture, wanted: Kind) -> bytes:
    from vdmcompress.classical import encode_classical

    found = image if isinstance(image, Picture) else array_picture(image)
    kind, payload = encode_classical(found.pixels, found.depth, found.mode is Mode.PALETTE)
    if kind is not wanted:
        raise ValueError(f"this picture is coded as {kind.name}, wanted is {wanted.name}: take another one")
    return pack(_header(kind, found), [payload])


def _png_file(found: Picture) -> bytes:
    return pack(_header(Kind.PNG, found), [png_of(found.pixels, found.mode, found.depth)])


def with_section(data: bytes, section: bytes) -> bytes:
    """A sound file with another section of metadata, which may be its first; the checksum is right."""
    header, parts = unpack(data)
    crc = struct.pack("<I", header.pixel_crc)
    head = data[: data.index(crc) + len(crc)]
    first = bytes((head[KIND_AT] | METADATA_BIT,))
    return sealed(b"".join((head[:KIND_AT], first, head[KIND_AT + 1 :], section, *parts)))


def compressed_section(raw: bytes, claimed: int | None = None) -> bytes:
    """A section that holds a compressed list, and claims that it is so many bytes long."""
    stored = zlib.compress(raw, 9)
    return varint(len(raw) if claimed is None else claimed) + varint(len(stored)) + stored


def sound_files() -> dict[str, bytes]:
    """Name -> file: every kind, mode and depth; odd sizes, several plans and lanes, metadata."""
    ramp = np.tile(np.arange(20, 60, dtype=np.uint8), (30, 1))
    tall = np.zeros((16400, 1), np.uint8)
    return {
        "rgb-17x12": diffusion_file(picture(12, 17, 3)),
        "grey-24x20": diffusion_file(picture(24, 20, 1)),
        "rgb-33x47": diffusion_file(picture(33, 47, 3)),
        "rgb-64x64-latents": diffusion_file(picture(64, 64, 3), "all"),
        "rgb-40x40-direct": diffusion_file(picture(40, 40, 3), "none"),
        "grey-26x24-later-plan": diffusion_file(picture(24, 26, 1), "later"),
        "rgb-18x16-photocd-420-later-plan": diffusion_file(stored_picture(16, 18, 8), "later"),
        "grey-129x128-lanes": diffusion_file(picture(129, 128, 1)),
        "rgb-1x1": diffusion_file(picture(1, 1, 3)),
        "rgb-17x16-jpeg": diffusion_file(stored_picture(16, 17, 1)),
        "rgb-21x19-jpeg-420": diffusion_file(stored_picture(19, 21, 2)),
        "rgb-23x18-jpeg-422": diffusion_file(stored_picture(18, 23, 3), "none"),
        "rgb-17x18-webp": diffusion_file(stored_picture(18, 17, 4)),
        "rgb-17x16-jpeg-420-cut": diffusion_file(stored_picture(16, 17, 21)),
        "rgb-16x18-photocd": diffusion_file(stored_picture(18, 16, 5)),
        "rgb-22x20-photocd-420": diffusion_file(stored_picture(20, 22, 8), "all"),
        "webp-rgb": _classical_file(
            np.repeat(ramp[..., None], 3, 2) + np.array([0, 9, 60], np.uint8), Kind.WEBP
        ),
        "webp-grey": _classical_file(ramp, Kind.WEBP),
        "png-grey": _classical_file(tall, Kind.PNG),
        "png-rgb": _classical_file(np.repeat(tall[..., None], 3, 2), Kind.PNG),
        **_sound_modes(),
    }


def _sound_modes() -> dict[str, bytes]:
    """Alpha, palettes, other depths, metadata stored as they are and compressed."""
    text = Chunk(b"tEXt", b"Title\0" + np.random.default_rng(5).bytes(9))
    rich = (
        Chunk(b"gAMA", bytes((0, 0, 177, 143))),
        Chunk(b"iTXt", b"Comment\0" + bytes(4) + b"long " * 40),
        Chunk(b"tIME", bytes((7, 208, 1, 2, 3, 4, 5)), late=True),
        Chunk(b"IEND", b"after the end", late=True),
    )
    colour, grey = picture(20, 24, 3), picture(20, 21, 1)
    alpha = np.where(grey > 120, 255, grey).astype(np.uint8)
    hidden = picture(19, 24, 3)
    hidden[8:] = (9, 90, 200)
    fade = np.tile(np.arange(24, dtype=np.uint8) * 10, (19, 1))
    deep = colour.astype(np.uint16) * 257 ^ np.arange(24, dtype=np.uint16)[:, None]
    palette = Chunk(b"PLTE", bytes(range(48)))
    indexed = Picture(Mode.PALETTE, 4, grey >> 4, (palette, Chunk(b"tRNS", b"\0\x80")))
    few = Picture(Mode.PALETTE, 1, grey >> 7, (Chunk(b"PLTE", b"\0\0\0\xff\xff\xff"), text))
    return {
        "rgba-24x20-alpha": diffusion_file(np.dstack((colour, np.pad(alpha, ((0, 0), (0, 3)))))),
        "la-21x20-alpha-metadata": diffusion_file(
            replace(array_picture(np.dstack((grey, alpha))), chunks=rich)
        ),
        "rgb-20x18-metadata-stored": diffusion_file(
            replace(array_picture(picture(18, 20, 3)), chunks=(text,))
        ),
        "grey-18x22-metadata": diffusion_file(replace(array_picture(picture(22, 18, 1)), chunks=rich)),
        "webp-rgba": _classical_file(np.dstack((hidden, fade)), Kind.WEBP),
        "palette-4bit": _png_file(indexed),
        "palette-1bit-webp": _classical_file(few, Kind.WEBP),
        "grey-1bit": _png_file(Picture(Mode.GREY, 1, picture(17, 23, 1) >> 7)),
        "grey-4bit": _png_file(Picture(Mode.GREY, 4, picture(23, 17, 1) >> 4, rich)),
        "grey-16bit": _classical_file(deep[..., 0].copy(), Kind.PNG),
        "rgb-16bit": _classical_file(replace(array_picture(deep), chunks=(text,)), Kind.PNG),
        "rgba-16bit": _classical_file(np.dstack((deep, deep[..., 1] & 0xFF00)), Kind.PNG),
    }


def damaged_files(sound: dict[str, bytes]) -> dict[str, bytes]:
    """Name -> file, one for each way of being refused; all but the first two have sound checksums."""
    whole = sound["rgb-17x12"]
    header, views = unpack(whole)
    (lane,) = (bytes(view) for view in views)
    middle = len(lane) // 2
    flipped = lane[:middle] + bytes([lane[middle] ^ 1]) + lane[middle + 1 :]
    top = bytes([*lane[:-1], lane[-1] ^ 0x10])
    noise = np.random.default_rng(1).integers(0, 256, len(lane) // 4 * 4, np.uint8).tobytes() + b"\1" * 8
    _, other = unpack(sound["rgb-64x64-latents"])
    jpeg, stored = unpack(sound["rgb-21x19-jpeg-420"])
    grey, (webp,) = unpack(sound["webp-grey"])
    png_header, (png,) = unpack(sound["png-grey"])
    claim = sealed(whole[:6] + b"\x80\x80\x01\x80\x80\x01" + whole[8:-4])
    return {
        "flipped-bit": whole[:99] + bytes([whole[99] ^ 4]) + whole[100:],
        "cut": whole[:-9],
        "flipped-bit-resealed": pack(header, [flipped]),
        "flipped-top-resealed": pack(header, [top]),
        "cut-payload": pack(header, [lane[4:]]),
        "no-head": pack(header, [b"\0" * 8]),
        "words-left-over": pack(header, [b"\5\0\0\0" + lane]),
        "noise": pack(header, [noise]),
        "other-payload": pack(header, [bytes(other[0])]),
        "other-size": pack(replace(header, width=header.height, height=header.width), [lane]),
        "other-plan": pack(replace(header, plan=2 - header.plan), [lane]),
        "no-such-plan": pack(replace(header, plan=2**32 - 1), [lane]),
        "no-colour": pack(replace(header, plan=header.plan + 5), [lane]),
        "colour-left-out": pack(replace(jpeg, plan=jpeg.plan - 5), stored),
        "other-lanes": pack(replace(header, lanes=2), [lane[:middle], lane[middle:]]),
        "grey-flag": pack(replace(header, channels=1), [lane]),
        "no-such-model": pack(replace(header, model=bytes(8)), [lane]),
        "other-pixel-crc": pack(replace(header, pixel_crc=header.pixel_crc ^ 1), [lane]),
        "hour-of-work": claim,
        "no-such-version": sealed(whole[:4] + b"\x63" + whole[5:-4]),
        "webp-cut": pack(grey, [webp[: len(webp) // 2]]),
        "webp-other-size": pack(replace(grey, width=grey.width + 1), [webp]),
        "webp-as-png": pack(replace(grey, kind=Kind.PNG), [webp]),
        "png-noise": pack(png_header, [bytes(png[:40]) + noise]),
        **_damaged_sections(whole),
        **_damaged_modes(sound),
    }


def _damaged_sections(whole: bytes) -> dict[str, bytes]:
    """Metadata that lie, or that would take more memory than is their due."""
    long = b"tEXt" + varint(2**18) + bytes(2**18)
    broken = bytearray(compressed_section(long))
    broken[-1] ^= 8
    return {
        "metadata-beyond-limit": with_section(whole, compressed_section(long, MAX_METADATA + 1)),
        "metadata-more-than-claimed": with_section(whole, compressed_section(long, 4000)),
        "metadata-less-than-claimed": with_section(whole, compressed_section(long, MAX_METADATA)),
        "metadata-broken-zlib": with_section(whole, bytes(broken)),
        "metadata-too-many": with_section(whole, compressed_section(b"teXt\0" * (MAX_CHUNKS + 1))),
        "metadata-empty": with_section(whole, b"\0\0"),
        "metadata-cut-chunk": with_section(whole, b"\7\7tEXt\x7fab"),
        "metadata-no-letters": with_section(whole, b"\5\5\0\1\2\3\0"),
        "metadata-header-chunk": with_section(whole, b"\5\5IHDR\0"),
        "metadata-pixels-twice": with_section(whole, b"\x0f\x0fIDAT\0IDAT\0tEXt\0"),
        "metadata-two-palettes": with_section(whole, b"\x10\x10" + b"PLTE\3abc" * 2),
    }


def _damaged_modes(sound: dict[str, bytes]) -> dict[str, bytes]:
    """Layout, alpha, palette and transparency that do not belong to the rest."""
    rgba, (plane, *lanes) = unpack(sound["rgba-24x20-alpha"])
    _, (other, _) = unpack(sound["la-21x20-alpha-metadata"])
    half = len(plane) // 2
    flipped = bytes(plane[:half]) + bytes([plane[half] ^ 4]) + bytes(plane[half + 1 :])
    indexed, (indices,) = unpack(sound["palette-4bit"])
    palette, clear = indexed.chunks
    four, (values,) = unpack(sound["grey-4bit"])
    deep, (samples,) = unpack(sound["rgb-16bit"])
    cut = sound["rgba-24x20-alpha"]
    return {
        "layout-unknown": sealed(cut[:8] + b"\x9e" + cut[9:-4]),
        "layout-contradicts": sealed(cut[:8] + b"\x5c" + cut[9:-4]),
        "layout-needless": sealed(cut[:8] + b"\x1a" + cut[9:-4]),
        "alpha-flipped": pack(rgba, [flipped, *lanes]),
        "alpha-cut": pack(rgba, [plane[:half], *lanes]),
        "alpha-other": pack(rgba, [other, *lanes]),
        "alpha-left-out": pack(replace(rgba, channels=3, alpha=None), lanes),
        "palette-other": pack(replace(indexed, chunks=(Chunk(b"PLTE", bytes(48)), clear)), [indices]),
        "palette-as-grey": pack(replace(indexed, indexed=False), [indices]),
        "transparency-left-out": pack(replace(indexed, chunks=(palette,)), [indices]),
        "grey-other-depth": pack(replace(four, depth=2), [values]),
        "rgb-16bit-as-8": pack(replace(deep, depth=8), [samples]),
    }


def outcome(data: bytes) -> str:
    """What decode makes of a file: `digest` of the picture, or the name of the error."""
    from vdmcompress.api import decode_picture
    from vdmcompress.errors import VdmError

    try:
        return digest(decode_picture(data, threads=1))
    except VdmError as error:
        return type(error).__name__


def load(folder: str) -> dict[str, bytes]:
    """Name -> file of a folder of the corpus."""
    return {path.stem: path.read_bytes() for path in sorted((CORPUS / folder).glob("*.vdm"))}


def expected() -> dict[str, dict[str, str]]:
    """Folder -> name -> outcome, as committed."""
    table: dict[str, dict[str, str]] = json.loads((CORPUS / "expected.json").read_text())
    return table


def write() -> None:
    """Write corpus and table; what cannot be so is refused before anything is written."""
    os.environ["VDMC_MODEL_PATH"] = str(DATA)
    sound = sound_files()
    folders = {"sound": sound, "damaged": damaged_files(sound)}
    table: dict[str, Any] = {
        folder: {name: outcome(data) for name, data in files.items()} for folder, files in folders.items()
    }
    for folder, files in folders.items():
        for name in files:
            if (len(table[folder][name]) == 64) != (folder == "sound"):
                raise ValueError(f"{folder}/{name}: {table[folder][name]}")
    for folder, files in folders.items():
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        for path in (CORPUS / folder).glob("*.vdm"):
            path.unlink()
        for name, data in files.items():
            (CORPUS / folder / f"{name}.vdm").write_bytes(data)
    (CORPUS / "expected.json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()
