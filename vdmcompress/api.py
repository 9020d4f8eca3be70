"""Whole images to bytes and back; torch and numba are imported where a diffusion payload needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.border import guarded
from vdmcompress.choice import models_of
from vdmcompress.chunks import pack_section
from vdmcompress.classical import decode_classical, encode_classical, may_beat
from vdmcompress.container import Data, holds, pack, peek, unpack
from vdmcompress.decoding import (
    Progress,
    Work,
    agree,
    check_work,
    decode_alpha,
    decode_once,
    decode_parts,
    join,
)
from vdmcompress.efforts import DEFAULT_EFFORT, effort_of
from vdmcompress.errors import (
    DamagedFileError,
    LimitError,
    MachineError,
    UnsupportedImageError,
    UsageError,
    VdmError,
)
from vdmcompress.header import DEFAULT_LIMITS, Header, Kind, Limits
from vdmcompress.image_io import image_picture
from vdmcompress.path import COLOURS, ORDERS
from vdmcompress.picture import Mode, Picture, Samples, array_picture, difference, pixel_crc
from vdmcompress.preview import SCALES

if TYPE_CHECKING:
    from vdmcompress.model_file import Model

__all__ = ["by_diffusion", "decode", "decode_picture", "encode", "peek"]

Pixels: TypeAlias = NDArray[np.uint8]


@guarded
def encode(
    image: Samples | Image.Image | Picture,
    *,
    effort: int = DEFAULT_EFFORT,
    model: str | None = None,
    latents: str | None = None,
    colour: str = "auto",
    threads: int | None = None,
    device: str = "auto",
    verify: bool = True,
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
    memory: int | None = None,
) -> bytes:
    """Compress an image losslessly: the smallest of diffusion, WebP lossless and PNG.

    image: uint8 or uint16 array (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) of grey or RGB, the last channel of
    2 and 4 being alpha; a Pillow image of mode 1, L, LA, P, RGB, RGBA or I;16, with the ICC profile, EXIF,
    XMP, resolution and transparency of its info; or a Picture. effort: 1 (fastest) to 9 (smallest), see
    `efforts.py`; it decides what model and latents are unless these are given. model: a name, a hash or a
    path, "auto" or None for what `choice.models_of` finds. latents: which scales code with chains of
    latents, a key of `path.ORDERS`: one (the fourth-finest), all or none. colour: auto looks for the YCC that
    the pixels once were (`colour.py`), rgb does not. threads: default all processors.
    device: auto, cpu or cuda; neither alters the bytes. verify: decode the bytes and compare. progress:
    called with (done, total, what). memory: bytes that diffusion may make the process take, None for any
    number; it does not alter the bytes. limits: what is refused as too large. Diffusion serves 8-bit grey and
    RGB, with alpha coded apart; palettes and other depths are coded classically, without a model.

    Raises UnsupportedImageError, LimitError, ModelMissingError, UsageError, and MachineError where the bytes
    do not decode to the image.
    """
    work = _work(threads, device, progress, memory)
    wanted = effort_of(effort)
    if latents is not None and latents not in ORDERS:
        raise UsageError(f"latents {latents!r} is not known; allowed are {', '.join(ORDERS)}")
    if colour not in COLOURS:
        raise UsageError(f"colour {colour!r} is not known; allowed are {', '.join(COLOURS)}")
    picture = _as_picture(image, limits)
    chosen, data, beside = None, b"", 0
    if by_diffusion(picture):
        ways = wanted.latents if latents is None else (latents,)
        for name in models_of(picture, wanted, model, colour):
            tried = _load_model(name)
            for way in ways:
                file = _encode_diffusion(picture, tried, ORDERS[way], wanted.search(colour), work)
                if file is not None and (not data or len(file[0]) < len(data)):
                    chosen, data, beside = tried, *file
    if not data:
        data = encode_classically(picture)
    elif may_beat(picture.colour, len(data) - beside, careful=wanted.careful, threads=work.thread_count):
        _give_back()
        data = min(data, encode_classically(picture), key=len)
    if verify:
        _verify(data, picture, chosen, work.labelled("verify"), limits)
    return data


def by_diffusion(picture: Picture) -> bool:
    """Whether diffusion serves the picture: grey and RGB of 8 bits, with and without alpha."""
    return picture.depth == 8 and picture.mode is not Mode.PALETTE


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
) -> Samples:
    """Pixels of a file's bytes: uint8 or (16-bit images) uint16, (H, W), (H, W, 2), (H, W, 3) or (H, W, 4).

    Palettes are given as RGB or RGBA, grey of fewer than 8 bits is scaled to 0..255; decode_picture gives
    indices and values as they are, and metadata.  scale: 1 for the exact pixels, 2, 4 or 8 for a preview of 8
    bits, ceil(H/scale) rows and ceil(W/scale) columns out of the coarse scales (of very small images the
    coarsest there is).  threads, device, progress, memory: as in encode.  limits: what is refused as too
    large.

    Raises DamagedFileError (also when the pixels' checksum does not agree), LimitError, ModelMissingError,
    UsageError, and MachineError where this machine computes differently.
    """
    if scale not in SCALES:
        raise UsageError(f"scale 1/{scale} does not exist; allowed are {', '.join(f'1/{s}' for s in SCALES)}")
    work = _work(threads, device, progress, memory)
    header, parts = unpack(data, limits)
    found = decode_parts(header, parts, scale, work)
    return found.array() if isinstance(found, Picture) else found


@guarded
def decode_picture(
    data: Data,
    *,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
    memory: int | None = None,
) -> Picture:
    """The picture of a file's bytes, with mode, depth, palette and metadata.

    Options and errors as in decode.
    """
    work = _work(threads, device, progress, memory)
    header, parts = unpack(data, limits)
    return cast(Picture, decode_parts(header, parts, 1, work))


def _work(threads: int | None, device: str, progress: Progress | None, memory: int | None) -> Work:
    """How the networks are run, as a caller may ask for it."""
    check_work(threads, device, memory)
    return Work(threads, device, progress, memory)


def _as_picture(image: Samples | Image.Image | Picture, limits: Limits) -> Picture:
    if isinstance(image, Image.Image):
        image = image_picture(image)
    picture = image if isinstance(image, Picture) else array_picture(image)
    fault = picture.fault()
    if fault is not None:
        raise UnsupportedImageError(f"image: {fault}; see vdmcompress.picture.Picture")
    most = limits.max_pixels
    if picture.height * picture.width > most:
        size = f"{picture.width}x{picture.height}"
        raise LimitError(f"image of {size} pixels, allowed are {most} in all; cut it into parts")
    if picture.chunks:
        pack_section(picture.chunks)
    return replace(picture, pixels=np.ascontiguousarray(picture.pixels))


def _give_back() -> None:
    from vdmcompress.memory import give_back

    give_back()


def _load_model(name: str | None) -> Model:
    from vdmcompress.model_search import load_model

    return load_model(name)


def _header(kind: Kind, picture: Picture, alpha: Kind | None = None) -> Header:
    """Header of a picture; what a diffusion payload needs is put in later."""
    return Header(
        kind,
        picture.width,
        picture.height,
        picture.mode.channels,
        pixel_crc(picture),
        depth=picture.depth,
        indexed=picture.mode is Mode.PALETTE,
        alpha=alpha,
        chunks=picture.chunks,
    )


def _encode_diffusion(
    picture: Picture, model: Model, order: tuple[int, ...], colour: str, work: Work
) -> tuple[bytes, int] | None:
    """File, and how many of its bytes are for alpha and metadata.

    None where the lanes are so short that no file may hold them (`holds`).
    """
    from vdmcompress.cascade import encode_pixels

    encoded = encode_pixels(
        picture.colour,
        model,
        work.thread_count,
        work.progress,
        device=work.device,
        order=order,
        memory=work.memory,
        colour=colour,
    )
    alpha, parts = None, list(encoded.lanes)
    beside = len(pack_section(picture.chunks)) if picture.chunks else 0
    if picture.alpha is not None:
        alpha, plane = encode_classical(picture.alpha)
        parts.insert(0, plane)
        beside += len(plane)
    header = _header(Kind.DIFFUSION, picture, alpha)
    header = replace(header, model=model.hash8, plan=encoded.plan, lanes=len(encoded.lanes))
    held = holds(header, sum(map(len, encoded.lanes)))
    return (pack(header, parts), beside) if held else None


def encode_classically(picture: Picture) -> bytes:
    kind, payload = encode_classical(picture.pixels, picture.depth, picture.mode is Mode.PALETTE)
    return pack(_header(kind, picture), [payload])


def _verify(data: bytes, picture: Picture, model: Model | None, work: Work, limits: Limits) -> None:
    """Raise MachineError unless the bytes decode to the picture."""
    header, parts = unpack(data, limits)
    try:
        plane = None if header.alpha is None else decode_alpha(header, parts[0])
        if header.kind is Kind.DIFFUSION and model is not None:
            lanes = parts[header.alpha is not None :]
            pixels = decode_once(header, lanes, model, 1, work)
        else:
            pixels = decode_classical(header.kind, parts[-1], header)
    except VdmError as error:
        if error.exit_code != DamagedFileError.exit_code:
            raise
        raise _not_verified() from error
    found = join(header, pixels, plane)
    if difference(found, picture) is not None or not agree(found, header):
        raise _not_verified()


def _not_verified() -> MachineError:
    return MachineError(
        "the bytes made of this image do not decode to it on this machine, allowed are the same pixels only; "
        "run 'vdmc selftest'"
    )
