"""The pieces of an upload, read as one run of bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from services.storage.objects.port import Objects


@dataclass(frozen=True)
class Part:
    """One piece in the object store."""

    key: str
    length: int


def prefix(upload_id: str) -> str:
    """What the keys of an upload's pieces begin with."""
    return f"uploads/{upload_id}/"


def part_key(upload_id: str, offset: int, length: int) -> str:
    """Key of the piece that begins at `offset`; the length keeps pieces of two senders apart."""
    return f"{prefix(upload_id)}{offset:016x}-{length:x}"


class Parts:
    """Reads pieces one after the other, one open at a time."""

    def __init__(self, objects: Objects, parts: Sequence[Part]) -> None:
        self._objects, self._left = objects, list(parts)
        self._open: io.BufferedReader | None = None

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, all up to the end if it is negative; none at the end."""
        blocks: list[bytes] = []
        while size and (block := self._read_one(size)):
            blocks.append(block)
            size -= len(block) if size > 0 else 0
        return b"".join(blocks) if len(blocks) != 1 else blocks[0]

    def close(self) -> None:
        """Close the piece in hand."""
        if self._open:
            self._open.close()
            self._open = None

    def _read_one(self, size: int) -> bytes:
        while True:
            if self._open is None:
                if not self._left:
                    return b""
                self._open = io.BufferedReader(self._objects.open(self._left.pop(0).key), 1 << 20)
            if block := self._open.read(size):
                return block
            self.close()
