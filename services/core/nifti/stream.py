"""Decompressed bytes of a NIfTI file, in bounded memory, from a path, from bytes or from an open file."""

import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from isal import igzip, igzip_lib, igzip_threaded

from services.core.errors import AtlasError, Reason
from services.core.nifti.header import Header, parse, truncated
from services.core.nifti.layout import HEADER_2_BYTES

Source = Path | str | bytes | BinaryIO
"""A file's path, its bytes, or the file opened for reading (read from where it stands, left open)."""

TRAILING_BYTES = 1 << 20
"""Padding after the last voxel that is tolerated; more is taken for a bomb."""
SLAB_BYTES = 2 << 20
_DAMAGED = (gzip.BadGzipFile, cast(type[Exception], igzip_lib.IsalError))
_GZIP_MAX_RATIO = 1032
_GZIP_MAGIC = b"\x1f\x8b"
_IMPOSTORS = (
    (b"version https://git-lfs", "This is a Git-LFS pointer, not the file itself.", "Run `git lfs pull` first."),
    (b"\x00\x05\x16\x07", "This is an AppleDouble file (macOS metadata).", 'Delete the files that begin with "._".'),
    (b"PK\x03\x04", "This is a zip archive.", "Unpack it and import the files in it."),
    (b"<", "This is a web page or an XML file.", "Download the file again."),
)


class Stream:
    """One pass over a NIfTI file. Reading past what the header accounts for is refused, not done."""

    def __init__(self, raw: "io.BufferedReader[Any]", size: int | None, is_gzip: bool) -> None:
        self._raw, self._size, self._is_gzip = raw, size, is_gzip
        start = self._read_up_to(HEADER_2_BYTES)
        if start[128:132] == b"DICM":
            raise _impostor("This is a DICOM file.", "Convert the series to NIfTI, for example with dcm2niix.")
        self.start = start
        self.header: Header = parse(start)
        self._rest = start[self.header.voxel_offset :]
        self._position = len(start)

    def require_possible(self) -> None:
        """Raise FILE_TRUNCATED if the compressed size alone shows that voxels are missing, before memory is taken."""
        needed = self.header.voxel_offset + self.header.voxel_bytes
        if self._size is not None and needed > self._size * (_GZIP_MAX_RATIO if self._is_gzip else 1) + 1024:
            raise truncated(f"The header accounts for {needed} bytes, the file cannot hold them.")

    def read_voxels(self, out: npt.NDArray[Any]) -> None:
        """Fill `out`, C-contiguous, with the next stored voxels. Raises FILE_TRUNCATED or DIGEST_MISMATCH."""
        self._skip_to(self.header.voxel_offset)
        view = out.reshape(-1).view(np.uint8).data
        taken = len(self._rest)
        if taken:
            view[:taken], self._rest = self._rest[: len(view)], self._rest[len(view) :]
            taken -= len(self._rest)
        while taken < len(view):
            count = self._reading(self._raw.readinto, view[taken:])
            if not count:
                raise truncated("It ends before its last voxel.")
            taken += count
        self._position += taken

    def slabs(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """(first slice, stored voxels of some slices (z, y, x) in native byte order), in order, then the end's check.

        The array is overwritten by the next slab.
        """
        depth, rows, columns = self.header.geometry.array_shape
        dtype = self.header.dtype
        step = min(depth, max(1, SLAB_BYTES // (rows * columns * dtype.itemsize)))
        buffer = np.empty((step, rows, columns), dtype)
        native = buffer.view(dtype.newbyteorder("="))
        for start in range(0, depth, step):
            count = min(step, depth - start)
            self.read_voxels(buffer[:count])
            if not dtype.isnative:
                buffer[:count].byteswap(inplace=True)
            yield start, native[:count]
        self.finish()

    def finish(self) -> None:
        """Read to the end, so that gzip's checksum is tested. Raises FILE_TOO_LARGE if there is much more."""
        left = TRAILING_BYTES - len(self._rest)
        while left >= 0:
            count = len(self._reading(self._raw.read, min(left + 1, 1 << 16)))
            if not count:
                return
            left -= count
        raise AtlasError(
            Reason.FILE_TOO_LARGE,
            f"More than {TRAILING_BYTES} bytes follow the last voxel that the header accounts for.",
            field="file",
            remedy="Write the file again with another program, and do not trust where it came from.",
        )

    def _skip_to(self, offset: int) -> None:
        while self._position < offset:
            skipped = len(self._read_up_to(min(offset - self._position, 1 << 16)))
            if not skipped:
                raise truncated("It ends before its first voxel.")
            self._position += skipped

    def _read_up_to(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count > 0 and (data := self._reading(self._raw.read, count)):
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def _reading(self, read: Callable[[Any], Any], argument: object) -> Any:
        try:
            return read(argument)
        except EOFError as error:
            raise truncated("The gzip data ends too early.") from error
        except _DAMAGED as error:
            raise AtlasError(
                Reason.DIGEST_MISMATCH,
                "The gzip data is damaged.",
                field="file",
                remedy="Copy or download the file again.",
            ) from error


@contextmanager
def opened(source: Source, *, threaded: bool = True) -> Iterator[Stream]:
    """Open a NIfTI file, plain or gzip (also of several members), and read its header.

    `threaded` decompresses in a thread of its own, ahead of the caller. Raises what `header.parse` raises, and
    FILE_NOT_NIFTI, naming what it is instead, for the files that are most often mistaken for one.
    """
    with ExitStack() as stack:
        file, size = _file(source, stack)
        start = file.peek(64)
        for magic, message, remedy in _IMPOSTORS:
            if start.startswith(magic):
                raise _impostor(message, remedy)
        if not start:
            raise truncated("It is empty.")
        is_gzip = start.startswith(_GZIP_MAGIC)
        raw: Any = file
        if is_gzip:
            unzip: Any = igzip_threaded.open if threaded else igzip.open
            raw = stack.enter_context(unzip(file, "rb"))
        yield Stream(raw, size, is_gzip)


def _file(source: Source, stack: ExitStack) -> tuple["io.BufferedReader[Any]", int | None]:
    if isinstance(source, bytes):
        return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(source))), len(source)
    if isinstance(source, str | Path):
        path = Path(source)
        file = stack.enter_context(path.open("rb"))
        return file, os.fstat(file.fileno()).st_size
    if isinstance(source, io.BufferedReader):
        return source, None
    reader = io.BufferedReader(cast(io.RawIOBase, source))
    stack.callback(reader.detach)
    return reader, None


def _impostor(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FILE_NOT_NIFTI, message, field="file", remedy=remedy)
