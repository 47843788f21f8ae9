"""Texts in a NIfTI file: found, and taken out with every voxel and every number of the header left as it is.

A header has room for words (who scanned whom, when, where), extensions hold whole DICOM headers, and gzip notes the
name of the file. None of it is needed to place or to read a voxel.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from isal import isal_zlib

from services.core.errors import AtlasError, Reason
from services.core.nifti.header import Header, parse
from services.core.nifti.layout import EXTENSION_FLAG_BYTES, HEADER_1, HEADER_1_BYTES, HEADER_2, HEADER_2_BYTES
from services.core.nifti.stream import opened

START_BYTES = 1 << 16
"""What is looked at of a file's beginning; a gzip header that is longer is refused."""
_COPY_BYTES = 1 << 20
_TEXTS = {
    1: {
        "data_type": (4, 10),
        "db_name": (14, 18),
        "descrip": (148, 80),
        "aux_file": (228, 24),
        "intent_name": (328, 16),
    },
    2: {"descrip": (240, 80), "aux_file": (320, 24), "intent_name": (508, 16), "unused_str": (525, 15)},
}
"""Version to field to (offset, length), in bytes."""
_GZIP_EXTRA, _GZIP_NAME, _GZIP_COMMENT, _GZIP_CHECK = 4, 8, 16, 2
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LEVEL = 1


@dataclass(frozen=True)
class Texts:
    """Where a file holds texts. `gzip_header` counts the bytes before the compressed data, 0 for a plain file."""

    fields: tuple[str, ...]
    extension_bytes: int
    has_gzip_texts: bool
    has_more_bytes: bool
    """Bytes follow the last voxel, or the file is of several gzip members, each with a header of its own."""
    gzip_header: int

    @property
    def note(self) -> str:
        """What is taken out, as a sentence that quotes none of it; "" if there is nothing."""
        found = list(self.fields)
        if self.extension_bytes:
            found.append(f"extensions of {self.extension_bytes} bytes")
        if self.has_gzip_texts:
            found.append("the name in the gzip header")
        if self.has_more_bytes:
            found.append("what follows the last voxel")
        return f"Texts were removed from the file before it was kept: {', '.join(found)}." if found else ""

    @property
    def is_only_around(self) -> bool:
        """Whether the compressed data may stay as they are."""
        return not (self.fields or self.extension_bytes or self.has_more_bytes)


def find(start: bytes, end: bytes, size: int) -> Texts:
    """Where a file of `size` bytes holds texts, by its first START_BYTES and last 4 bytes (all, if it has fewer).

    Raises what `header.parse` raises, and DIGEST_MISMATCH if its gzip data is damaged.
    """
    gzip_header, has_gzip_texts = _gzip_header(start)
    head = _unzipped(start) if gzip_header else start[:HEADER_2_BYTES]
    header = parse(head)
    whole = header.voxel_offset + header.voxel_bytes
    # gzip ends with the size of its last member, modulo 2**32.
    told = int.from_bytes(end[-4:], "little") if gzip_header else size
    return Texts(
        fields=tuple(name for name, (at, length) in _TEXTS[header.version].items() if any(head[at : at + length])),
        extension_bytes=header.voxel_offset - _least_offset(header),
        has_gzip_texts=has_gzip_texts,
        has_more_bytes=told != (whole % 2**32 if gzip_header else whole),
        gzip_header=gzip_header,
    )


def cleaned(file: BinaryIO, texts: Texts) -> Iterator[bytes]:
    """The bytes of the file without its texts; the same file gives the same bytes.

    Raises what reading a NIfTI file raises, FILE_TRUNCATED among it.
    """
    if texts.is_only_around:
        file.read(texts.gzip_header)
        yield _GZIP_HEADER
        while block := file.read(_COPY_BYTES):
            yield block
        return
    compressor = isal_zlib.compressobj(_LEVEL, wbits=31) if texts.gzip_header else None
    for block in _plain(file):
        if data := compressor.compress(block) if compressor else block:
            yield data
    if compressor:
        yield compressor.flush()


def _plain(file: BinaryIO) -> Iterator[bytes]:
    with opened(file) as stream:
        header = stream.header
        yield _without_texts(stream.start, header)
        left, buffer = header.voxel_bytes, np.empty(_COPY_BYTES, np.uint8)
        while left:
            part = buffer[: min(left, _COPY_BYTES)]
            stream.read_voxels(part)
            yield part.tobytes()
            left -= len(part)
        stream.finish()


def _without_texts(start: bytes, header: Header) -> bytes:
    length = _least_offset(header) - EXTENSION_FLAG_BYTES
    head = bytearray(start[:length])
    for at, count in _TEXTS[header.version].values():
        head[at : at + count] = bytes(count)
    layout = HEADER_1 if header.version == 1 else HEADER_2
    is_big = head[:4] == np.array(layout.itemsize, ">i4").tobytes()
    fields = np.frombuffer(head, layout.newbyteorder(">" if is_big else "<"), count=1)
    fields["vox_offset"] = length + EXTENSION_FLAG_BYTES
    return bytes(head) + bytes(EXTENSION_FLAG_BYTES)


def _least_offset(header: Header) -> int:
    return (HEADER_1_BYTES if header.version == 1 else HEADER_2_BYTES) + EXTENSION_FLAG_BYTES


def _unzipped(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(start, HEADER_2_BYTES)
    except zlib.error as error:
        raise AtlasError(
            Reason.DIGEST_MISMATCH, "The gzip data is damaged.", field="file", remedy="Copy or download the file again."
        ) from error


def _gzip_header(start: bytes) -> tuple[int, bool]:
    """(length, whether it holds texts) of the gzip header, (0, False) of a plain file."""
    if not start.startswith(b"\x1f\x8b"):
        return 0, False
    flags, at = start[3], 10
    if flags & _GZIP_EXTRA:
        at += 2 + int.from_bytes(start[at : at + 2], "little")
    for flag in (_GZIP_NAME, _GZIP_COMMENT):
        if flags & flag:
            at = start.find(b"\0", at) + 1 or len(start)
    at += 2 if flags & _GZIP_CHECK else 0
    if at >= len(start):
        raise AtlasError(
            Reason.FILE_NOT_NIFTI, "Its gzip header has no end.", field="file", remedy="Compress the file again."
        )
    return at, bool(flags & (_GZIP_EXTRA | _GZIP_NAME | _GZIP_COMMENT))
