"""Whole images to bytes and back; torch and numba are imported where a diffusion payload needs them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.border import guarded
from vdmcompress.classical import decode_classical, encode_classical, may_beat
from vdmcompress.container import DEFAULT_LIMITS, Data, Header, Kind, Limits, holds, pack, peek, unpack
from vdmcompress.efforts import DEFAULT_EFFORT, effort_of
from vdmcompress.errors import (
    DamagedFileError,
    LimitError,
    MachineError,
    UnsupportedImageError,
    UsageError,
    VdmError,
    damaged,
)
from vdmcompress.image_io import image_pixels
from vdmcompress.path import ORDERS
from vdmcompress.transform import forward_colour, haar_forward, inverse_colour, pyramid_shapes

if TYPE_CHECKING:
    from vdmcompress.model_file import Model

__all__ = ["decode", "encode", "peek"]

Pixels: TypeAlias = NDArray[np.uint8]
Progress: TypeAlias = Callable[[float, float, str], None]

SCALES: Final = (1, 2, 4, 8)
DEVICES: Final = ("auto", "cpu", "cuda")
REFERENCE_DEVICE: Final = "cpu_float"
"""The plainest way of computing the exact networks, asked when the chosen one is in doubt."""


@guarded
def encode(
    image: Pixels | Image.Image,
    *,
    model: str | None = None,
    threads: int | None = None,
    device: str = "auto",
    effort: int = DEFAULT_EFFORT,
    latents: str | None = None,
    verify: bool = True,
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
    memory: int | None = None,
) -> bytes:
    """Compress an image losslessly: the smallest of diffusion, WebP lossless and PNG.

    image: uint8 (H, W) or (H, W, 3), or a Pillow image of mode L or RGB.  effort: 1 (fastest) to 9
    (smallest), see `efforts.py`; it decides what model and latents are unless these are given.  model: a
    name, a hash or a path.  latents: which scales code with chains of latents, a key of `path.ORDERS`: one
    (the second-finest), all or none.  threads: default all processors.  device: auto, cpu or cuda; neither
    alters the bytes.  verify: decode the bytes and compare.  progress: called with (done, total, what).
    limits: what is refused as too large.  memory: bytes that diffusion may make the process take, None for
    any number; it does not alter the bytes.

    Raises UnsupportedImageError, LimitError, ModelMissingError, UsageError, and MachineError where the bytes
    do not decode to the image.
    """
    _check_device(device)
    wanted = effort_of(effort)
    if latents is not None and latents not in ORDERS:
        raise UsageError(f"latents {latents!r} is not known; allowed are {', '.join(ORDERS)}")
    pixels = _as_pixels(image, limits)
    threads = _thread_count(threads)
    chosen = _load_model(model or wanted.model)
    ways = wanted.latents if latents is None else (latents,)
    tried = [_encode_diffusion(pixels, chosen, threads, device, ORDERS[w], progress, memory) for w in ways]
    data = min((made for made in tried if made is not None), key=len, default=b"")
    if not data:
        data = _encode_classical(pixels)
    elif may_beat(pixels, len(data), careful=wanted.careful, threads=threads):
        data = min(data, _encode_classical(pixels), key=len)
    if verify:
        _verify(data, pixels, chosen, threads, device, _labelled(progress, "verify"), limits, memory)
    return data


@guarded
def decode(
    data: Data,
    *,
    scale: int = 1,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
    memory: int | None = None,
) -> Pixels:
    """Pixels uint8 (H, W) or (H, W, 3) of a file's bytes.

    scale: 1 for the exact pixels, 2, 4 or 8 for a preview of ceil(H/scale) rows and ceil(W/scale) columns out
    of the coarse scales (of very small images the coarsest there is).  threads, device, progress, memory: as
    in encode.  limits: what is refused as too large.

    Raises DamagedFileError (also when the pixels' checksum does not agree), LimitError, ModelMissingError,
    UsageError, and MachineError where this machine computes differently.
    """
    if scale not in SCALES:
        raise UsageError(f"scale 1/{scale} does not exist; allowed are {', '.join(f'1/{s}' for s in SCALES)}")
    _check_device(device)
    header, lanes = unpack(data, limits)
    if header.kind is not Kind.DIFFUSION:
        pixels = decode_classical(header.kind, lanes[0], header)
        if not _agree(pixels, header):
            raise _other_pixels(header)
        return _preview(pixels, scale)
    from vdmcompress.model_file import find_model

    model = find_model(header.model)
    return _decode_diffusion(header, lanes, model, scale, _thread_count(threads), device, progress, memory)


def _as_pixels(image: Pixels | Image.Image, limits: Limits) -> Pixels:
    pixels = image_pixels(image) if isinstance(image, Image.Image) else image
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        met = f"an array of {pixels.dtype}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UnsupportedImageError(f"image: {met}; allowed are uint8 arrays and Pillow images; convert it")
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or pixels.size == 0:
        raise UnsupportedImageError(
            f"image has shape {pixels.shape}; allowed are (H, W) for grey and (H, W, 3) for RGB, not empty"
        )
    height, width = pixels.shape[:2]
    most = limits.max_pixels
    if height * width > most:
        raise LimitError(f"image of {width}x{height} pixels, allowed are {most} in all; cut it into parts")
    return np.ascontiguousarray(pixels)


def _check_device(device: str) -> None:
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is not known; allowed are {', '.join(DEVICES)}")


def _thread_count(threads: int | None) -> int:
    if threads is None:
        from vdmcompress.engine import default_threads

        return default_threads()
    if threads < 1:
        raise UsageError(f"{threads} threads; allowed are 1 and more, or None for all processors")
    return threads


def _load_model(name: str | None) -> Model:
    from vdmcompress.model_file import load_model

    return load_model(name)


def _header(kind: Kind, pixels: Pixels, model: bytes = b"", plan: int = 0, lanes: int = 1) -> Header:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    return Header(kind, width, height, channels, _pixel_crc(pixels), model, plan, lanes)


def _encode_diffusion(
    pixels: Pixels,
    model: Model,
    threads: int,
    device: str,
    order: tuple[int, ...],
    progress: Progress | None,
    memory: int | None,
) -> bytes | None:
    """The file with a diffusion payload; None where that is so short that no file may hold it (`holds`)."""
    from vdmcompress.cascade import encode_pixels

    encoded = encode_pixels(pixels, model, threads, progress, device=device, order=order, memory=memory)
    header = _header(Kind.DIFFUSION, pixels, model.hash8, encoded.plan, len(encoded.lanes))
    return pack(header, encoded.lanes) if holds(header, sum(map(len, encoded.lanes))) else None


def _encode_classical(pixels: Pixels) -> bytes:
    kind, payload = encode_classical(pixels)
    return pack(_header(kind, pixels), [payload])


def _decode_diffusion(
    header: Header,
    lanes: list[memoryview],
    model: Model,
    scale: int,
    threads: int,
    device: str,
    progress: Progress | None,
    memory: int | None,
) -> Pixels:
    """Decode; where the result is wrong, once more on the reference path, to tell machine and file apart."""
    failure: VdmError = _other_pixels(header)
    for way in (device, REFERENCE_DEVICE):
        try:
            pixels = _decode_once(header, lanes, model, scale, threads, way, progress, memory)
        except VdmError as error:
            if error.exit_code != DamagedFileError.exit_code:
                raise
            failure = error
        else:
            if scale > 1 or _agree(pixels, header):
                return pixels
            failure = _other_pixels(header)
    faults = _machine_faults(model)
    if faults:
        raise MachineError(f"this machine computes differently ({'; '.join(faults)}); decode on another one")
    raise failure


@lru_cache(maxsize=1)
def _machine_faults(model: Model) -> tuple[str, ...]:
    """What is wrong with this machine; asked once for many damaged files of a model."""
    from vdmcompress.exact import selftest

    return tuple(f"{name}: {detail}" for name, sound, detail in selftest(model) if not sound)


def _decode_once(
    header: Header,
    lanes: list[memoryview],
    model: Model,
    scale: int,
    threads: int,
    device: str,
    progress: Progress | None,
    memory: int | None,
) -> Pixels:
    from vdmcompress.cascade import decode_pixels

    size = (header.height, header.width, header.channels)
    payload = [bytes(lane) for lane in lanes]
    return decode_pixels(
        payload, *size, header.plan, model, threads, scale, progress, device=device, memory=memory
    )


def _pixel_crc(pixels: Pixels) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def _agree(pixels: Pixels, header: Header) -> bool:
    return _pixel_crc(pixels) == header.pixel_crc


def _other_pixels(header: Header) -> DamagedFileError:
    return damaged(f"its pixels do not have the CRC-32 {header.pixel_crc:08x} of its header")


def _preview(pixels: Pixels, scale: int) -> Pixels:
    """LL of the scale as a picture, as a diffusion payload gives it."""
    if scale == 1:
        return pixels
    planes = forward_colour(pixels)
    for _ in range(min(SCALES.index(scale), len(pyramid_shapes(*pixels.shape[:2])) - 1)):
        planes = haar_forward(planes).ll
    return inverse_colour(planes, clip=True)


def _verify(
    data: bytes,
    pixels: Pixels,
    model: Model,
    threads: int,
    device: str,
    progress: Progress | None,
    limits: Limits,
    memory: int | None,
) -> None:
    """Raise MachineError unless the bytes decode to the pixels."""
    header, lanes = unpack(data, limits)
    try:
        if header.kind is Kind.DIFFUSION:
            found = _decode_once(header, lanes, model, 1, threads, device, progress, memory)
        else:
            found = decode_classical(header.kind, lanes[0], header)
    except VdmError as error:
        if error.exit_code != DamagedFileError.exit_code:
            raise
        raise _not_verified() from error
    if not np.array_equal(found, pixels):
        raise _not_verified()


def _not_verified() -> MachineError:
    return MachineError(
        "the bytes made of this image do not decode to it on this machine, allowed are the same pixels only; "
        "run 'vdmc selftest'"
    )


def _labelled(progress: Progress | None, what: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, _: progress(done, total, what)
