"""The committed corpus: sound files of every kind with the tests' tiny model, and typical damaged ones.

    tests/data/corpus/sound/*.vdm      must decode, to the pixels whose SHA-256 the table has
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmcompress.container import Header, Kind, pack, unpack

Pixels = NDArray[np.uint8]

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
CORPUS = DATA / "corpus"
TINY = DATA / "tiny.vdm.safetensors"


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


def digest(pixels: Pixels) -> str:
    """SHA-256 of shape and pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def diffusion_file(pixels: Pixels, order: str = "one") -> bytes:
    """A file of kind diffusion with the tiny model, whatever its size."""
    from vdmcompress.cascade import encode_pixels
    from vdmcompress.model_file import read_model
    from vdmcompress.path import ORDERS

    model = read_model(TINY)
    encoded = encode_pixels(pixels, model, 1, order=ORDERS[order])
    return pack(_header(Kind.DIFFUSION, pixels, model.hash8, encoded.plan, len(encoded.lanes)), encoded.lanes)


def _header(kind: Kind, pixels: Pixels, model: bytes = b"", plan: int = 0, lanes: int = 1) -> Header:
    channels = 1 if pixels.ndim == 2 else 3
    crc = zlib.crc32(pixels.tobytes())
    return Header(kind, pixels.shape[1], pixels.shape[0], channels, crc, model, plan, lanes)


def _classical_file(pixels: Pixels, wanted: Kind) -> bytes:
    from vdmcompress.classical import encode_classical

    kind, payload = encode_classical(pixels)
    if kind is not wanted:
        raise ValueError(f"this picture is coded as {kind.name}, wanted is {wanted.name}: take another one")
    return pack(_header(kind, pixels), [payload])


def sound_files() -> dict[str, bytes]:
    """Name -> file: diffusion, WebP and PNG, each in both modes; odd sizes, several plans and lanes."""
    ramp = np.tile(np.arange(20, 60, dtype=np.uint8), (30, 1))
    tall = np.zeros((16400, 1), np.uint8)
    return {
        "rgb-17x12": diffusion_file(picture(12, 17, 3)),
        "grey-24x20": diffusion_file(picture(24, 20, 1)),
        "rgb-33x47": diffusion_file(picture(33, 47, 3)),
        "rgb-64x64-latents": diffusion_file(picture(64, 64, 3), "all"),
        "rgb-40x40-direct": diffusion_file(picture(40, 40, 3), "none"),
        "grey-129x128-lanes": diffusion_file(picture(129, 128, 1)),
        "rgb-1x1": diffusion_file(picture(1, 1, 3)),
        "webp-rgb": _classical_file(
            np.repeat(ramp[..., None], 3, 2) + np.array([0, 9, 60], np.uint8), Kind.WEBP
        ),
        "webp-grey": _classical_file(ramp, Kind.WEBP),
        "png-grey": _classical_file(tall, Kind.PNG),
        "png-rgb": _classical_file(np.repeat(tall[..., None], 3, 2), Kind.PNG),
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
    }


def outcome(data: bytes) -> str:
    """What decode makes of a file: SHA-256 of the pixels, or the name of the error."""
    from vdmcompress.api import decode
    from vdmcompress.errors import VdmError

    try:
        return digest(decode(data, threads=1))
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
