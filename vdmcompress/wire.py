"""Numbers and bytes as the file format writes them; every read is checked against the end."""

from dataclasses import dataclass, field
from typing import Final

from vdmcompress.errors import damaged

__all__ = ["Reader", "varint"]

_VARINT_BYTES: Final = 5


def varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, the high bit says that more follow."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass
class Reader:
    """Reads bytes front to back.  where: what they are, for the messages of DamagedFileError."""

    view: memoryview
    at: int = 0
    where: str = "header"
    end: int = field(init=False)

    def __post_init__(self) -> None:
        self.end = len(self.view)

    @property
    def left(self) -> int:
        return self.end - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise damaged(f"it ends within its {self.where}")
        self.at += count
        return bytes(self.view[self.at - count : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """A number below 2**32 in its shortest form; any other form is damage."""
        value = 0
        for i in range(_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if (byte == 0 and i > 0) or value >= 2**32:
                    break
                return value
        raise damaged(f"a number in its {self.where} is not in canonical form")
