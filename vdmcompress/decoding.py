"""From the parts of a file to its picture: how the networks are run, and what is done where pixels differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vdmcompress.classical import decode_classical
from vdmcompress.errors import DamagedFileError, MachineError, UsageError, VdmError, damaged
from vdmcompress.header import Header, Kind
from vdmcompress.picture import Picture, Samples, pixel_crc
from vdmcompress.preview import preview

if TYPE_CHECKING:
    from vdmcompress.model_file import Model

Pixels: TypeAlias = NDArray[np.uint8]
Progress: TypeAlias = Callable[[float, float, str], None]

DEVICES: Final = ("auto", "cpu", "cuda")
REFERENCE_DEVICE: Final = "cpu_float"
"""The plainest way of computing the exact networks, asked when the chosen one is in doubt."""


@dataclass(frozen=True)
class Work:
    """How the networks are run.  threads: None for all.  memory: bytes they may take, None for any number."""

    threads: int | None
    device: str
    progress: Progress | None
    memory: int | None

    @property
    def thread_count(self) -> int:
        if self.threads is not None:
            return self.threads
        from vdmcompress.engine import default_threads

        return default_threads()

    def labelled(self, what: str) -> Work:
        """The same with another word for the progress."""
        progress = self.progress
        if progress is None:
            return self
        return replace(self, progress=lambda done, total, _: progress(done, total, what))


def check_work(threads: object, device: object, memory: object) -> None:
    """Raise UsageError for what cannot be asked for."""
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is not known; allowed are {', '.join(DEVICES)}")
    if threads is not None and not (isinstance(threads, Integral) and int(threads) >= 1):
        raise UsageError(f"{threads!r} threads; allowed are 1 and more, or None for all processors")
    if memory is not None and not isinstance(memory, Real):
        raise UsageError(f"memory {memory!r}; allowed are a number of bytes, or None for any number")


def decode_parts(header: Header, parts: list[memoryview], scale: int, work: Work) -> Picture | Samples:
    """The picture whose checksum agrees; or, of another scale than 1, its preview."""
    plane = None if header.alpha is None else decode_alpha(header, parts[0])
    lanes = parts if plane is None else parts[1:]
    if header.kind is not Kind.DIFFUSION:
        picture = join(header, decode_classical(header.kind, lanes[0], header), plane)
        if not agree(picture, header):
            raise _other_pixels(header)
        return picture if scale == 1 else preview(picture.array(), scale)
    from vdmcompress.model_search import find_model

    model = find_model(header.model)
    return _decode_diffusion(header, lanes, plane, model, scale, work)


def decode_alpha(header: Header, part: memoryview) -> Pixels:
    """The alpha plane (H, W) that is a part of its own."""
    kind = header.alpha or Kind.PNG
    return decode_classical(kind, part, Header(kind, header.width, header.height, 1, 0))


def join(header: Header, pixels: Samples, plane: Pixels | None) -> Picture:
    """The picture of the lanes' samples and of an alpha plane."""
    if plane is not None:
        pixels = np.dstack((pixels, plane))
    return Picture(header.mode, header.depth, pixels, header.chunks)


def _decode_diffusion(
    header: Header,
    lanes: list[memoryview],
    plane: Pixels | None,
    model: Model,
    scale: int,
    work: Work,
) -> Picture | Pixels:
    """Decode; where the result is wrong, once more on the reference path, to tell machine and file apart."""
    failure: VdmError = _other_pixels(header)
    for way in (work.device, REFERENCE_DEVICE):
        try:
            pixels = decode_once(header, lanes, model, scale, replace(work, device=way))
        except VdmError as error:
            if error.exit_code != DamagedFileError.exit_code:
                raise
            failure = error
        else:
            if scale > 1:
                return pixels if plane is None else np.dstack((pixels, preview(plane, scale)))
            picture = join(header, pixels, plane)
            if agree(picture, header):
                return picture
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


def decode_once(header: Header, lanes: list[memoryview], model: Model, scale: int, work: Work) -> Pixels:
    """Pixels of the lanes by one way of computing the networks; another checksum is not noticed here."""
    from vdmcompress.cascade import decode_pixels

    size = (header.height, header.width, header.payload_channels)
    payload = [bytes(lane) for lane in lanes]
    return decode_pixels(
        payload,
        *size,
        header.plan,
        model,
        work.thread_count,
        scale,
        work.progress,
        device=work.device,
        memory=work.memory,
    )


def agree(picture: Picture, header: Header) -> bool:
    """Whether the picture has the checksum of the header."""
    return pixel_crc(picture) == header.pixel_crc


def _other_pixels(header: Header) -> DamagedFileError:
    return damaged(f"its pixels do not have the CRC-32 {header.pixel_crc:08x} of its header")
