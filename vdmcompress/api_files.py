"""The public face on files: the twins of encode, decode and peek.

What is written is there whole or not at all (`files.py`); an existing file is replaced with `force` only.
Errors are those of `api.py`, and OSError where the system refuses.
"""

from __future__ import annotations

from pathlib import Path

from vdmcompress import api
from vdmcompress.decoding import Progress
from vdmcompress.efforts import DEFAULT_EFFORT
from vdmcompress.errors import UsageError
from vdmcompress.files import IMAGE_FORMATS, PathLike, check_output, write_file
from vdmcompress.header import DEFAULT_LIMITS, Header, Limits
from vdmcompress.image_io import read_picture
from vdmcompress.image_output import check_format, write_picture
from vdmcompress.picture import array_picture

__all__ = ["decode_file", "encode_file", "peek_file"]


def encode_file(
    source: PathLike,
    target: PathLike,
    *,
    model: str | None = None,
    effort: int = DEFAULT_EFFORT,
    threads: int | None = None,
    device: str = "auto",
    verify: bool = True,
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
    force: bool = False,
) -> int:
    """Compress an image file; gives the number of bytes written.

    The new file gets the permissions and times of the source.  What of the source is not kept is no error:
    `image_io.read_picture` names it.
    limits: what of the source is refused as too large.  force: replace an existing target.  The rest: as in
    `encode`.
    """
    check_output(target, force=force, inputs=[source])
    data = api.encode(
        read_picture(source, limits),
        model=model,
        effort=effort,
        threads=threads,
        device=device,
        verify=verify,
        progress=progress,
    )
    write_file(target, data, force=force, inputs=[source], like=source)
    return len(data)


def decode_file(
    source: PathLike,
    target: PathLike,
    *,
    scale: int = 1,
    threads: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    limits: Limits = DEFAULT_LIMITS,
    force: bool = False,
) -> int:
    """Decode to an image file, PNG, WebP (lossless) or PPM by its suffix; gives the number of bytes written.

    Metadata that the format cannot hold is left out (PNG holds everything); a picture that it cannot hold
    raises UnsupportedImageError.  force: replace an existing target.  The rest: as in `decode`.
    """
    suffix = Path(target).suffix.lower()
    if suffix not in IMAGE_FORMATS:
        raise UsageError(
            f"suffix {suffix!r} of output names no format; allowed are {', '.join(IMAGE_FORMATS)}"
        )
    check_output(target, force=force, inputs=[source])
    data = Path(source).read_bytes()
    if scale == 1:
        check_format(api.peek(data, limits), IMAGE_FORMATS[suffix])
        picture = api.decode_picture(data, threads=threads, device=device, progress=progress, limits=limits)
    else:
        picture = array_picture(
            api.decode(data, scale=scale, threads=threads, device=device, progress=progress, limits=limits)
        )
    image, _ = write_picture(picture, IMAGE_FORMATS[suffix])
    write_file(target, image, force=force, inputs=[source], like=source)
    return len(image)


def peek_file(path: PathLike, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Header of a compressed file, which is read whole and checked against its checksum."""
    return api.peek(Path(path).read_bytes(), limits)
