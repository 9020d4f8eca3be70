"""The formats that vdmc is measured against, each as a pair of functions on pixels.

A format has a short name (``jxl7``) by which it is asked for, and a title ("JPEG XL e7") under which it is
shown.  Pixels are uint8 (H, W), (H, W, 3) or (H, W, 4), the last with alpha; files hold pixels only.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.efforts import DEFAULT_EFFORT, EFFORTS
from vdmcompress.errors import MachineError, UnsupportedImageError, UsageError

Pixels: TypeAlias = NDArray[np.uint8]

AVIF_SPEED: Final = 6
"""avifenc's own; slower speeds take minutes a megapixel, and are larger than JPEG XL all the same."""


@dataclass(frozen=True)
class Format:
    """Lossless coding of pixels, both ways.

    name: as it is asked for.  title: as it is shown.  family: which of them belong on one line of a plot.
    setting: what tells it from others of its family.  threads: how many it may use.
    """

    name: str
    title: str
    family: str
    setting: str
    threads: int
    encode: Callable[[Pixels], bytes]
    decode: Callable[[bytes], Pixels]


@dataclass(frozen=True)
class Measured:
    """One image in one format: bytes, and seconds each way."""

    size: int
    encode_seconds: float
    decode_seconds: float


def different_efforts() -> list[int]:
    """Efforts of vdmc; of those that do the same, the default or else the first."""
    chosen: dict[Any, int] = {}
    for number in (DEFAULT_EFFORT, *range(1, len(EFFORTS) + 1)):
        chosen.setdefault(EFFORTS[number - 1], number)
    return sorted(chosen.values())


def usual_names() -> tuple[str, ...]:
    """What `vdmc bench` measures: the best of each format, and vdmc at every effort that differs."""
    return ("png", "webp", "jxl3", "jxl7", "jxl9", "jls", "avif", *(f"vdmc{e}" for e in different_efforts()))


def all_names() -> tuple[str, ...]:
    """The usual ones, and the lesser efforts of WebP and JPEG XL."""
    others = ("png", "webp0", "webp4", "webp", "jxl1", "jxl3", "jxl5", "jxl7", "jxl9", "jls", "avif")
    return (*others, *(f"vdmc{e}" for e in different_efforts()))


def find_format(name: str, threads: int = 1) -> Format:
    """The format of a short name; raises UsageError for a name that no format has.

    png, webp (best effort) or webp0..webp6, jxl1..jxl9, jls, avif, vdmc1..vdmc9; vdmc7+ checks by decoding,
    vdmc7rgb takes all pixels as RGB.  threads: of those that can use several.
    """
    found = re.fullmatch(r"(png|webp|jxl|jls|avif|vdmc)(\d?)(\+|(?<=vdmc\d)rgb|)", name)
    kind, number, checked = found.groups() if found else ("", "", "")
    if kind in ("png", "jls", "avif") and not number and not checked:
        return {"png": _png, "jls": _jpeg_ls, "avif": _avif}[kind](threads)
    if kind == "webp" and not checked and (not number or int(number) <= 6):
        return _webp(int(number) if number else None)
    if kind == "jxl" and not checked and number and int(number) >= 1:
        return _jpeg_xl(int(number), threads)
    if kind == "vdmc" and number and 1 <= int(number) <= len(EFFORTS):
        return _vdmc(int(number), threads, checked)
    raise UsageError(
        f"format {name!r} is not known; allowed are png, webp, webp0 to webp6, jxl1 to jxl9, jls, avif, "
        f"vdmc1 to vdmc{len(EFFORTS)} (vdmc7+ with its check by decoding, vdmc7rgb without a look for YCC)"
    )


def _pillow(kind: str, **how: Any) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **how)
        return stream.getvalue()

    return encode


def _pillow_decode(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def _png(_threads: int) -> Format:
    return Format("png", "PNG", "PNG", "", 1, _pillow("PNG", optimize=True), _pillow_decode)


def _webp(method: int | None) -> Format:
    """Lossless and exact: method 6 at quality 100, or a lesser method at quality 75."""
    how = {"lossless": True, "exact": True}
    if method is None:
        encode = _pillow("WEBP", quality=100, method=6, **how)
        return Format("webp", "WebP", "WebP", "m6 q100", 1, encode, _pillow_decode)
    encode, setting = _pillow("WEBP", quality=75, method=method, **how), f"m{method}"
    return Format(f"webp{method}", f"WebP {setting}", "WebP", setting, 1, encode, _pillow_decode)


def _jpeg_xl(effort: int, threads: int) -> Format:
    import imagecodecs

    def encode(pixels: Pixels) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=effort, numthreads=threads))

    def decode(data: bytes) -> Pixels:
        return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=threads), np.uint8)

    setting = f"e{effort}"
    return Format(f"jxl{effort}", f"JPEG XL {setting}", "JPEG XL", setting, threads, encode, decode)


def _jpeg_ls(_threads: int) -> Format:
    import imagecodecs

    def encode(pixels: Pixels) -> bytes:
        return bytes(imagecodecs.jpegls_encode(pixels, level=0))

    return Format("jls", "JPEG-LS", "JPEG-LS", "", 1, encode, imagecodecs.jpegls_decode)


def _avif(threads: int) -> Format:
    import imagecodecs

    def encode(pixels: Pixels) -> bytes:
        return bytes(imagecodecs.avif_encode(pixels, level=100, speed=AVIF_SPEED, numthreads=threads))

    def decode(data: bytes) -> Pixels:
        return np.asarray(imagecodecs.avif_decode(data, numthreads=threads), np.uint8)

    return Format("avif", "AVIF", "AVIF", f"s{AVIF_SPEED}", threads, encode, decode)


def _vdmc(effort: int, threads: int, how: str) -> Format:
    """how: "", "+" with the check by decoding, "rgb" for pixels as they are."""

    def encode(pixels: Pixels) -> bytes:
        from vdmcompress import api

        colour = "rgb" if how == "rgb" else "auto"
        return api.encode(pixels, effort=effort, threads=threads, verify=how == "+", colour=colour)

    def decode(data: bytes) -> Pixels:
        from vdmcompress import api

        return np.asarray(api.decode(data, threads=threads), np.uint8)

    words = {"": "", "+": "checked", "rgb": "as RGB"}[how]
    setting = f"e{effort} {words}".rstrip()
    title = f"vdmc -e {effort}, {words}" if words else f"vdmc -e {effort}"
    return Format(f"vdmc{effort}{how}", title, "vdmc", setting, threads, encode, decode)


def available(names: Iterable[str], threads: int = 1) -> tuple[list[str], dict[str, str]]:
    """Which formats give pixels back on this machine, each once, in order; and why the others do not.

    vdmc is not tried: where it fails, that is a failure.  Raises UsageError for a name that no format has.
    """
    y, x = np.mgrid[:24, :32]
    trial = np.stack((x * 7 + y, y * 5 + 11, x + y * 3), axis=-1).astype(np.uint8)
    found, missing = [], {}
    for name in dict.fromkeys(names):
        try:
            form = find_format(name, threads)
            if form.family != "vdmc":
                measure(form, trial)
            found.append(name)
        except UsageError:
            raise
        except Exception as error:
            missing[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return found, missing


def measure(form: Format, pixels: Pixels) -> Measured:
    """Code an image both ways, once; raises MachineError where the pixels do not come back."""
    start = time.perf_counter()
    data = form.encode(pixels)
    middle = time.perf_counter()
    back = form.decode(data)
    end = time.perf_counter()
    if not same_pixels(back, pixels):
        raise MachineError(f"{form.title} gave other pixels back; nothing that it takes is a result")
    return Measured(len(data), middle - start, end - middle)


def warm_up(form: Format) -> None:
    """Code small noisy images, on which everything is loaded and compiled that photographs will need."""
    height, width = (136, 150) if form.family == "vdmc" else (24, 32)  # tiny ones are no work for diffusion
    noise = np.random.default_rng(1).normal(60, 4, (height, width, 3))
    ramp = np.mgrid[:height, :width].sum(0)[..., np.newaxis] / 2
    pixels = np.clip(ramp + noise, 0, 255).astype(np.uint8)
    stored = _once_stored(pixels[..., 0]) if form.family == "vdmc" else []
    for trial in (pixels, np.ascontiguousarray(pixels[..., 0]), *stored):
        form.decode(form.encode(trial))


def _once_stored(grey: Pixels) -> list[Pixels]:
    """Images that came out of YCC, by each conversion, chroma at half the resolution, some pixels clipped."""
    from vdmcompress.subsampling import SUBSAMPLINGS, half_shape, upsample
    from vdmcompress.ycc import CONVERSIONS, to_rgb

    found, luma = [], grey // 2 + 60
    luma[:8] = 250  # clipped where chroma is far from grey
    for conversion in CONVERSIONS:
        kind = SUBSAMPLINGS[conversion.name][0]
        height, width = half_shape(kind, *grey.shape)
        chroma = upsample(np.ascontiguousarray(grey[:height, :width]) // 4 + 120, kind, *grey.shape)
        ycc = np.stack((luma, chroma, 255 - chroma), 2)
        found.append(to_rgb(ycc.reshape(-1, 3), conversion).reshape(ycc.shape))
    return found


def same_pixels(back: Pixels, pixels: Pixels) -> bool:
    """Whether decoded pixels are those of the image.

    WebP has no grey mode: a grey image that comes back as three equal components is the same image.  Alpha
    that is opaque everywhere may be left out.
    """
    if back.ndim > pixels.ndim and back.shape[:2] == pixels.shape:
        pixels = np.repeat(pixels[..., np.newaxis], back.shape[2], axis=2)
    if back.ndim == pixels.ndim == 3 and (back.shape[2], pixels.shape[2]) == (3, 4):
        return bool((pixels[..., 3] == 255).all()) and np.array_equal(back, pixels[..., :3])
    return np.array_equal(back, pixels)


def read_pixels(path: Path) -> Pixels:
    """Pixels of an image file that every format here can hold: 8-bit grey, RGB and RGB with alpha.

    Raises UnsupportedImageError for other images, and what `read_picture` raises.
    """
    from vdmcompress.chunks import find_chunk
    from vdmcompress.image_io import read_picture
    from vdmcompress.picture import Mode

    picture = read_picture(path)
    transparent = find_chunk(picture.chunks, b"tRNS") is not None
    if picture.depth != 8 or picture.mode not in (Mode.GREY, Mode.RGB, Mode.RGBA) or transparent:
        name = "a transparent colour (tRNS)" if transparent else picture.name
        raise UnsupportedImageError(
            f"not measured: {name}; all formats here take 8-bit grey, RGB and RGB with alpha"
        )
    return np.asarray(picture.pixels, np.uint8)
