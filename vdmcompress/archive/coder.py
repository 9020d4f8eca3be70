"""Pictures to a group and back: which model, what goes together, what is coded alone.

All of it is a function of the pictures and the settings, so that a group has the same bytes whoever codes it,
on whichever machine, with however many threads.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vdmcompress import api
from vdmcompress.archive.directory import Member
from vdmcompress.archive.group import Coded, GroupParts, batches_of, holds, pack_group, unpack_group
from vdmcompress.archive.settings import Entry, GroupSettings, Made
from vdmcompress.batch import EncodedBatches, decode_batches, encode_batches
from vdmcompress.border import guarded
from vdmcompress.choice import AUTO
from vdmcompress.chunks import Chunk
from vdmcompress.classical import (
    SMALL_PIXELS,
    decode_classical,
    encode_classical,
    may_beat,
    small_may_beat,
)
from vdmcompress.container import PIXELS_PER_BYTE
from vdmcompress.decoding import REFERENCE_DEVICE
from vdmcompress.efforts import effort_of
from vdmcompress.engine import Engine, default_threads
from vdmcompress.errors import DamagedFileError, MachineError, VdmError, damaged
from vdmcompress.exact import selftest
from vdmcompress.header import DEFAULT_LIMITS, Header, Kind, Limits
from vdmcompress.memory import choose_batch_tile
from vdmcompress.model_file import Model, parse_model
from vdmcompress.model_search import find_model, load_model
from vdmcompress.path import ORDERS
from vdmcompress.picture import Picture, difference, pixel_crc

__all__ = ["decode_group", "encode_group"]

Progress: TypeAlias = Callable[[float, float, str], None]
Pixels: TypeAlias = NDArray[np.uint8]
Embedded: TypeAlias = Callable[[bytes], bytes | None]

TRIAL_IMAGES: Final = 48
"""Images of a group with which its models are compared, where more than one may serve."""

LEAST_SAVING: Final = 2000
"""Batches are coded anew without some images where that saves more than one byte of so many."""


@guarded
def encode_group(entries: Sequence[Entry], settings: GroupSettings, progress: Progress | None = None) -> Made:
    """Code pictures as one group, and decode it again unless settings.verify is off.

    Raises MachineError where it does not decode to the pictures, and as `vdmcompress.encode`.
    """
    together = sorted((e for e in entries if api.by_diffusion(e.picture)), key=_place)
    alone = [e for e in entries if not api.by_diffusion(e.picture)]
    singles = {e.name: api.encode_classically(e.picture) for e in alone}
    found: EncodedBatches | None = None
    model: Model | None = None
    if together:
        model = _choose(together, settings)
        found, moved = _encode(together, model, settings, progress)
        singles |= moved
        alone += [e for e in together if e.name in moved]
        together = [e for e in together if e.name not in moved]
    members = [e.member(False) for e in together] + [e.member(True) for e in alone]
    alphas = [encode_classical(a) for e in together if (a := e.picture.alpha) is not None]
    parts = GroupParts(
        members,
        _crc([e.picture for e in together]),
        None if found is None or model is None else Coded(model.hash8, found.plan, found.lanes),
        [e.picture.chunks for e in together],
        alphas,
        [singles[e.name] for e in alone],
    )
    record = pack_group(parts)
    if settings.verify:
        _verify(record, [*together, *alone], model, settings)
    used = b"" if parts.coded is None else parts.coded.model
    return Made(record, members, used, 0.0 if found is None else found.ledger.bits)


def _place(entry: Entry) -> tuple[int, ...]:
    """Order in a group: large images first, which lend bits to the rest; equal sizes side by side."""
    member = entry.member(False)
    return -member.width * member.height, member.height, -member.batch_channels, member.mode


def _encode(
    entries: list[Entry], model: Model, settings: GroupSettings, progress: Progress | None
) -> tuple[EncodedBatches | None, dict[str, bytes]]:
    """The batches of all that is not smaller as a single, and the singles of the rest."""
    effort = effort_of(settings.effort)
    singles: dict[str, bytes] = {}
    while True:
        kept = [e for e in entries if e.name not in singles]
        if not kept:
            return None, singles
        found = _smallest(kept, model, settings, progress)
        bits = np.concatenate(found.bits)
        more: dict[str, bytes] = {}
        saved, lanes = 0, sum(map(len, found.lanes))
        for entry, own in zip(kept, bits, strict=True):
            size = -(-int(own) // 8)
            if _may_switch(entry.picture, size, effort.careful, settings):
                single = api.encode_classically(entry.picture)
                gain = size + _beside(entry.picture) - len(single)
                if gain > 0:
                    more[entry.name] = single
                    saved += gain
        if holds([shape for shape, _ in batches_of([e.member(False) for e in kept])], lanes):
            if saved * LEAST_SAVING <= lanes:
                return found, singles
        else:
            smooth = [e for e, own in zip(kept, bits, strict=True) if _smooth(e.picture, own)] or kept
            more |= {e.name: api.encode_classically(e.picture) for e in smooth}
        singles |= more


def _smooth(picture: Picture, bits: float) -> bool:
    """Whether a file of its own could not hold the image, coded by diffusion."""
    return picture.width * picture.height > PIXELS_PER_BYTE * bits / 8


def _beside(picture: Picture) -> int:
    """Bytes of an alpha plane, which diffusion does not code."""
    return 0 if picture.alpha is None else len(encode_classical(picture.alpha)[1])


def _may_switch(picture: Picture, size: int, careful: bool, settings: GroupSettings) -> bool:
    """Whether a classical coding may take fewer than size bytes: a screen."""
    if picture.width * picture.height <= SMALL_PIXELS:
        return small_may_beat(picture.colour, size)
    return may_beat(picture.colour, size, careful=careful, threads=_threads(settings))


def _batches(entries: Sequence[Entry]) -> list[Pixels]:
    """Pixels of the batches, (n, H, W) or (n, H, W, 3)."""
    batches, at = [], 0
    for shape, _ in batches_of([e.member(False) for e in entries]):
        batches.append(np.stack([e.picture.colour for e in entries[at : at + shape.count]]))
        at += shape.count
    return batches


def _smallest(
    entries: Sequence[Entry], model: Model, settings: GroupSettings, progress: Progress | None = None
) -> EncodedBatches:
    """The smallest coding of all ways that the effort has."""
    ways = effort_of(settings.effort).latents if settings.latents is None else (settings.latents,)
    batches = _batches(entries)
    shapes = [shape for shape, _ in batches_of([e.member(False) for e in entries])]
    tile = choose_batch_tile(shapes, model, _threads(settings), settings.memory)
    with Engine(model, _threads(settings), settings.device, tile) as engine:
        quick = not effort_of(settings.effort).careful
        tried = [encode_batches(batches, engine, ORDERS[way], progress, quick) for way in ways]
    return min(tried, key=lambda found: sum(map(len, found.lanes)))


def _choose(entries: Sequence[Entry], settings: GroupSettings) -> Model:
    """The model that codes a group: the best of those that may serve its images, by trial on some."""
    names = dict.fromkeys(name for e in entries for name in settings.models(e.picture))
    models = [_load(name) for name in names]
    if len(models) == 1:
        return models[0]
    some = entries[:: -(-len(entries) // TRIAL_IMAGES)]
    return min(models, key=lambda model: sum(map(len, _smallest(some, model, settings).lanes)))


@lru_cache(maxsize=4)
def _load(name: str) -> Model:
    return load_model(None if name == AUTO else name)


@lru_cache(maxsize=4)
def _find(hash8: bytes) -> Model:
    return find_model(hash8)


@lru_cache(maxsize=4)
def _parse(data: bytes) -> Model:
    return parse_model(data, "the model in the archive")


def _threads(settings: GroupSettings) -> int:
    return default_threads() if settings.threads is None else settings.threads


def _crc(pictures: Sequence[Picture]) -> int:
    """CRC-32 of the pixel CRCs, four bytes each."""
    return zlib.crc32(b"".join(struct.pack("<I", pixel_crc(picture)) for picture in pictures))


@guarded
def decode_group(
    record: bytes | memoryview,
    *,
    settings: GroupSettings | None = None,
    embedded: Embedded | None = None,
    known: Model | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> list[tuple[Member, Picture | VdmError]]:
    """All members of a group with their pictures, or with what is wrong with a single.

    embedded: gives the model file with a hash (its first 8 bytes) that the archive holds, None where it does
    not.  known: the model that the group names.  Raises DamagedFileError where the group is damaged, and as
    `vdmcompress.decode`.
    """
    settings = settings or GroupSettings()
    parts = unpack_group(record, limits)
    pictures: list[Picture | VdmError] = []
    if parts.coded is not None:
        model = known or _model(parts.coded.model, embedded)
        pictures += _decode_batches(parts, parts.coded, model, settings, progress)
    for member, data in zip(parts.members[len(pictures) :], parts.singles, strict=True):
        pictures.append(_decode_single(member, data, settings, limits))
    return list(zip(parts.members, pictures, strict=True))


def _decode_single(
    member: Member, data: bytes, settings: GroupSettings, limits: Limits
) -> Picture | VdmError:
    """The picture of a single, or why there is none."""
    try:
        header = api.peek(data, limits)
        met = (header.width, header.height, header.mode, header.depth)
        if met != (member.width, member.height, member.mode, member.depth):
            raise damaged(f"a single of {header.width}x{header.height} that its group has as another")
        return api.decode_picture(
            data, threads=settings.threads, device=settings.device, limits=limits, memory=settings.memory
        )
    except VdmError as error:
        return error


def _model(hash8: bytes, embedded: Embedded | None) -> Model:
    """The model of a group: out of the archive, or found."""
    data = None if embedded is None else embedded(hash8)
    return _find(hash8) if data is None else _parse(data)


def _decode_batches(
    parts: GroupParts, coded: Coded, model: Model, settings: GroupSettings, progress: Progress | None
) -> list[Picture | VdmError]:
    """Pictures whose checksum agrees; where it does not, once more on the reference path."""
    planes = iter(parts.alphas)
    alphas: list[Pixels | None] = []
    for member in parts.members[: len(parts.chunks)]:
        kind, data = next(planes) if member.has_alpha else (Kind.PNG, b"")
        alone = Header(kind, member.width, member.height, 1, 0)
        alphas.append(decode_classical(kind, data, alone) if member.has_alpha else None)
    failure: VdmError = damaged(f"the pixels of a group do not have the CRC-32 {parts.pixel_crc:08x}")
    tile = choose_batch_tile(parts.shapes, model, _threads(settings), settings.memory)
    for device in (settings.device, REFERENCE_DEVICE):
        try:
            with Engine(model, _threads(settings), device, tile) as engine:
                batches = decode_batches(coded.lanes, parts.shapes, coded.plan, engine, progress)
        except VdmError as error:
            if error.exit_code != DamagedFileError.exit_code:
                raise
            failure = error
            continue
        pixels = [image for batch in batches for image in batch]
        pictures = [_picture(*one) for one in zip(parts.members, pixels, alphas, parts.chunks, strict=False)]
        if _crc(pictures) == parts.pixel_crc:
            return list(pictures)
    faults = [f"{name}: {detail}" for name, sound, detail in selftest(model) if not sound]
    if faults:
        raise MachineError(f"this machine computes differently ({'; '.join(faults)}); decode on another one")
    raise failure


def _picture(member: Member, pixels: Pixels, alpha: Pixels | None, chunks: tuple[Chunk, ...]) -> Picture:
    samples = pixels if alpha is None else np.dstack((pixels, alpha))
    return Picture(member.mode, member.depth, np.ascontiguousarray(samples), chunks)


def _verify(record: bytes, entries: Sequence[Entry], model: Model | None, settings: GroupSettings) -> None:
    """Raise MachineError unless the record decodes to the pictures."""
    plain = replace(settings, verify=False)
    most = max(e.picture.width * e.picture.height for e in entries)
    total = sum(e.picture.width * e.picture.height for e in entries)
    limits = Limits(max(DEFAULT_LIMITS.max_pixels, most, total))
    try:
        found = decode_group(record, settings=plain, known=model, limits=limits)
    except DamagedFileError as error:
        raise _not_verified(entries[0].name) from error
    for entry, (member, picture) in zip(entries, found, strict=True):
        bad = isinstance(picture, VdmError) or difference(picture, entry.picture) is not None
        if bad or member.name != entry.name:
            raise _not_verified(entry.name)


def _not_verified(name: str) -> MachineError:
    return MachineError(
        f"the bytes made of a group ({name}, ...) do not decode to its images on this machine, allowed are "
        "the same pixels only; run 'vdmc selftest'"
    )
