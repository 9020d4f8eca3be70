"""What the bytes of a file are, to the last one."""

from __future__ import annotations

from collections.abc import Sequence

from vdmcompress.chunks import pack_section
from vdmcompress.header import MAGIC, MODEL_BYTES, Header, Kind
from vdmcompress.picture import Mode
from vdmcompress.wire import varint

CRC_BYTES = 4


def file_parts(header: Header, lengths: Sequence[int]) -> dict[str, int]:
    """Bytes of a file by what they hold (docs/format.md), in the order of the file; they sum to its length.

    lengths: bytes of the alpha plane where it is apart, then of the lanes.
    """
    plain = header.depth == 8 and header.mode in (Mode.GREY, Mode.RGB)
    apart = header.alpha is not None
    diffusion = header.kind is Kind.DIFFUSION
    lanes = lengths[apart:]
    parts = {
        "signature": len(MAGIC),
        "version and kind": 2,
        "size": len(varint(header.width)) + len(varint(header.height)),
        "mode and depth": 0 if plain else 1,
        "model hash": MODEL_BYTES if diffusion else 0,
        "plan and lanes": len(varint(header.plan)) + len(varint(header.lanes)) if diffusion else 0,
        "lengths of lanes": sum(len(varint(n)) for n in lanes[:-1]) if diffusion else 0,
        "kind and length of alpha": 1 + len(varint(lengths[0])) if apart else 0,
        "checksum of the pixels": CRC_BYTES,
        "metadata": len(pack_section(header.chunks)) if header.chunks else 0,
        "alpha": lengths[0] if apart else 0,
        "payload": sum(lanes),
        "checksum of the file": CRC_BYTES,
    }
    return {name: size for name, size in parts.items() if size}
