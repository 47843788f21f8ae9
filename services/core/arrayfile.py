"""Array files: voxel arrays of several channels on one grid, as one compressed run of bytes.

An array file is a contiguous Blosc2 frame of shape (channel, k, j, i) with lz4 and no filter (bit shuffling makes these
arrays larger and slower), cut into chunks of one channel and 32 slices, so that a reader takes slab by slab, and these
into blocks (`blocks`). Geometry, channel names and the largest byte of every block travel in the frame's metadata.
Writing the same array twice gives the same bytes.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import blosc2
import numpy as np
import numpy.typing as npt

from services.core.blocks import BLOCK, LAYERS, SLAB, Chosen, as_rows, blocks_of, padded, paste, rows_by_block
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

MAX_CHANNELS = 256
_FORMAT = 1
_HIGHEST = "highest"
_DTYPES = ("uint8", "int16")
Voxels = npt.NDArray[np.uint8] | npt.NDArray[np.int16]


def slab_bytes(geometry: Geometry) -> int:
    """Memory of going through slabs on `geometry`, at two bytes a voxel: one, the one before, and the blocks of one."""
    return 3 * 2 * math.prod(padded(geometry.array_shape))


def writer_bytes(geometry: Geometry, itemsize: int = 1) -> int:
    """Memory of a `Writer` on `geometry`, beyond what it has compressed: a slab, and its blocks."""
    return 2 * itemsize * math.prod(padded(geometry.array_shape))


@dataclass(frozen=True)
class ArrayFile:
    """An opened array file. Voxels are decompressed when they are asked for."""

    geometry: Geometry
    channels: tuple[str, ...]
    dtype: np.dtype[np.generic]
    _frame: blosc2.NDArray

    def channel(self, name: str) -> Voxels:
        """One whole channel, shape (k, j, i). Raises ARRAY_FILE_CORRUPT, and ValueError if there is no such channel."""
        # Pages of slabs that are 0 are never touched, and take no memory.
        voxels = np.zeros(self.geometry.array_shape, self.dtype)
        for start in range(0, len(voxels), SLAB):
            self.read_slab(name, start, cast(Voxels, voxels[start : start + SLAB]))
        return cast(Voxels, voxels)

    def slab(self, name: str, start: int, stop: int) -> Voxels:
        """Slices [start, stop) along k of one channel, shape (stop - start, j, i).

        Raises ARRAY_FILE_CORRUPT, and ValueError if there is no such channel.
        """
        number = self._channel_number(name)
        try:
            return cast(Voxels, self._frame[number, start:stop])
        except (RuntimeError, ValueError) as error:
            raise _corrupt(f"Channel {name!r} cannot be decompressed.") from error

    def read_slab(self, name: str, start: int, into: Voxels) -> bool:
        """Put the slab of one channel that begins at slice `start`, a multiple of `SLAB`, into `into`; the quick way.

        `into` is C-contiguous, of this file's dtype and has at least as many slices (j, i) as the slab; further ones
        are left alone, and all of it if the whole slab is 0: then this gives False. Raises ARRAY_FILE_CORRUPT, and
        ValueError if there is no such channel.
        """
        layer = start // BLOCK[0]
        there = self.highest(name)[layer : layer + LAYERS] > 0
        if not there.any():
            return False
        stop = min(start + SLAB, self.geometry.array_shape[0])
        if not self._is_cut:
            into[: stop - start] = self.slab(name, start, stop)
            return bool(into[: stop - start].any())
        blocks = np.empty((np.count_nonzero(there), *BLOCK), self.dtype)
        self.read_blocks(name, start, there, cast(Voxels, blocks))
        paste(blocks, there, into[: stop - start])
        return True

    def read_blocks(self, name: str, start: int, wanted: Chosen, into: Voxels) -> None:
        """Put the wanted blocks of the slab that begins at slice `start` one after the other into `into`.

        `wanted` are blocks (`LAYERS`, j, i), `into` is C-contiguous, of this file's dtype and shape (block, *`BLOCK`).
        Raises as `read_slab` does.
        """
        if not self._is_cut:
            slab = np.zeros(padded(self.geometry.array_shape), self.dtype)
            plain = self.slab(name, start, min(start + SLAB, self.geometry.array_shape[0]))
            slab[tuple(slice(length) for length in plain.shape)] = plain
            as_rows(into)[: np.count_nonzero(wanted)] = rows_by_block(slab)[wanted]
            return
        voxels, place = math.prod(BLOCK), 0
        before = _chunk_number(self._channel_number(name), start, self.geometry) * wanted.size
        try:
            for first, stop in _runs(wanted):
                part = into[place : place + stop - first].reshape(-1)
                self._frame.schunk.get_slice((before + first) * voxels, (before + stop) * voxels, part)
                place += stop - first
        except (RuntimeError, ValueError) as error:
            raise _corrupt(f"Channel {name!r} cannot be decompressed.") from error

    def highest(self, name: str) -> npt.NDArray[np.uint8]:
        """The largest byte of every block of a channel, (k, j, i) in blocks; of uint8 that is the largest value.

        Older files do not say; then it is 255 in slabs that hold anything. Raises as `read_slab` does.
        """
        of_channel: npt.NDArray[np.uint8] = self._highest[self._channel_number(name)]
        return of_channel

    def require_whole(self) -> None:
        """Raise ARRAY_FILE_CORRUPT unless everything decompresses, and no block holds more than the file says of it.

        Readers trust what a file says of its blocks: call this for one that nobody of ours has written or checked.
        """
        every = np.ones((LAYERS, *blocks_of(self.geometry.array_shape)[1:]), np.bool_)
        blocks = cast(Voxels, np.empty((every.size, *BLOCK), self.dtype))
        for name in self.channels:
            for start in range(0, self.geometry.array_shape[0], SLAB):
                self.read_blocks(name, start, every, blocks)
                layer = start // BLOCK[0]
                if (_largest_bytes(blocks) > self.highest(name)[layer : layer + LAYERS].reshape(-1)).any():
                    raise _corrupt(f"Channel {name!r} holds other voxels than the array file says.")

    @cached_property
    def _is_cut(self) -> bool:
        return _is_cut(self._frame, self.geometry)

    @cached_property
    def _highest(self) -> npt.NDArray[np.uint8]:
        shape, frame = (len(self.channels), *blocks_of(self.geometry.array_shape)), self._frame
        highest = np.full(shape, 255, np.uint8)
        try:
            if self._is_cut and _HIGHEST in frame.schunk.vlmeta:
                highest = np.frombuffer(frame.schunk.vlmeta[_HIGHEST], np.uint8).reshape(shape).copy()
            elif frame.chunks == (1, min(SLAB, frame.shape[1]), *frame.shape[2:]):
                # One chunk a slab: those that are 0 say so.
                empty = [info.special == blosc2.SpecialValue.ZERO for info in frame.schunk.iterchunks_info()]
                highest[np.repeat(np.reshape(empty, (len(self.channels), -1)), LAYERS, axis=1)] = 0
        except (RuntimeError, ValueError, TypeError) as error:
            raise _corrupt("What the array file says of its blocks is damaged.") from error
        highest[:, -(-frame.shape[1] // BLOCK[0]) :] = 0
        return highest

    def _channel_number(self, name: str) -> int:
        if name not in self.channels:
            raise ValueError(f"there is no channel {name!r} among {', '.join(self.channels)}")
        return self.channels.index(name)

    def slabs(self, name: str) -> Iterator[tuple[int, Voxels]]:
        """(first slice, slab) for the slabs of one channel, in order, each one chunk of the file."""
        depth, *plane = self.geometry.array_shape
        for start in range(0, depth, SLAB):
            slab = cast(Voxels, np.zeros((min(SLAB, depth - start), *plane), self.dtype))
            self.read_slab(name, start, slab)
            yield start, slab


class Writer:
    """Builds an array file piece by piece, so that only the piece at hand is in memory. What is not written is 0."""

    def __init__(self, channels: Sequence[str], dtype: npt.DTypeLike, geometry: Geometry) -> None:
        """An array file of uint8 or int16 with these channels on `geometry`."""
        if np.dtype(dtype).name not in _DTYPES or not channels or len(set(channels)) != len(channels):
            raise ValueError(f"distinct channels of {_DTYPES} expected, got {list(channels)} of {np.dtype(dtype)}")
        self._channels = list(channels)
        self._geometry = geometry
        self._frame = blosc2.zeros(
            (len(channels), *geometry.array_shape),
            dtype=np.dtype(dtype),
            chunks=(1, *padded(geometry.array_shape)),
            blocks=(1, *BLOCK),
            cparams=blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=9, filters=[blosc2.Filter.NOFILTER], nthreads=1),
            contiguous=True,
        )
        self._highest = np.zeros((len(channels), *blocks_of(geometry.array_shape)), np.uint8)
        self._slab = np.zeros(padded(geometry.array_shape), self._frame.dtype)
        self._filled = (slice(0, 0), slice(0, 0), slice(0, 0))
        self._blocks = np.empty((*blocks_of(self._slab.shape), *BLOCK), self._frame.dtype)

    def write(self, channel: str, voxels: Voxels, corner: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Put a box of one channel, shape (k, j, i), its first voxel at `corner`. Every slab of 32 slices at most once.

        The bytes of the file depend on the order of the calls. Raises GEOMETRY_MISMATCH if the box leaves the grid.
        """
        index, shape = self._channels.index(channel), self._geometry.array_shape
        first, last = corner[0], corner[0] + voxels.shape[0]
        if voxels.ndim != 3 or any(c < 0 or c + n > m for c, n, m in zip(corner, voxels.shape, shape, strict=True)):
            raise AtlasError(
                Reason.GEOMETRY_MISMATCH,
                f"A box of {voxels.shape} voxels at {corner} leaves the grid of {shape}.",
                field=channel,
            )
        _, j, i = (slice(c, c + n) for c, n in zip(corner, voxels.shape, strict=True))
        for start in range(first // SLAB * SLAB, last, SLAB):
            low, high = max(start, first), min(start + SLAB, last)
            piece = voxels[low - first : high - first]
            # A slab of zeros is what the file holds anyway.
            if not piece.any():
                continue
            filled = (slice(low - start, high - start), j, i)
            if filled != self._filled:
                self._slab[self._filled] = 0
            self._slab[filled], self._filled = piece, filled
            self._put(index, start)

    def _put(self, index: int, start: int) -> None:
        """Compress the slab of a channel that begins at slice `start`."""
        as_rows(self._blocks)[...] = rows_by_block(self._slab)
        layer, parts = start // BLOCK[0], self._blocks.shape[:3]
        self._highest[index, layer : layer + LAYERS] = _largest_bytes(self._blocks.reshape(-1, *BLOCK)).reshape(parts)
        self._frame.schunk.update_data(_chunk_number(index, start, self._geometry), self._blocks, copy=True)

    def finish(self) -> bytes:
        """The array file."""
        self._frame.schunk.vlmeta["atlas"] = json.dumps(
            {"format": _FORMAT, "channels": self._channels, "geometry": json.loads(self._geometry.to_json())}
        )
        self._frame.schunk.vlmeta[_HIGHEST] = self._highest.tobytes()
        return cast(bytes, self._frame.to_cframe())


def encode(channels: Sequence[str], arrays: Sequence[Voxels] | Voxels, geometry: Geometry) -> bytes:
    """Array file of `arrays` (one (k, j, i) array per channel, all uint8 or int16) on `geometry`.

    Raises GEOMETRY_MISMATCH if a shape differs from the geometry's.
    """
    if len(channels) != len(arrays):
        raise ValueError(f"{len(channels)} channels are named, {len(arrays)} given")
    writer = Writer(channels, arrays[0].dtype, geometry)
    for name, array in zip(channels, arrays, strict=True):
        if array.shape != geometry.array_shape:
            raise AtlasError(
                Reason.GEOMETRY_MISMATCH,
                f"Channel {name} has shape {array.shape}, its geometry {geometry.array_shape}.",
                field=name,
            )
        writer.write(name, array)
    return writer.finish()


def decode(data: bytes | memoryview) -> ArrayFile:
    """Open an array file. Raises ARRAY_FILE_CORRUPT if it is not one or contradicts itself."""
    try:
        frame = blosc2.ndarray_from_cframe(data, copy=False)
        meta = json.loads(frame.schunk.vlmeta["atlas"])
        channels = tuple(str(name) for name in meta["channels"])
        geometry = Geometry.from_json(json.dumps(meta["geometry"]))
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _corrupt("These bytes are not an array file.") from error
    if (
        meta.get("format") != _FORMAT
        or frame.dtype.name not in _DTYPES
        or frame.shape != (len(channels), *geometry.array_shape)
        or not 0 < len(channels) <= MAX_CHANNELS
        or (_is_cut(frame, geometry) and not _has_all_chunks(frame))
    ):
        raise _corrupt("The array file's metadata contradicts its contents.")
    frame.schunk.dparams = blosc2.DParams(nthreads=1)
    return ArrayFile(geometry, channels, frame.dtype, frame)


def _chunk_number(channel: int, start: int, geometry: Geometry) -> int:
    """Of the slab of a channel that begins at slice `start`."""
    return channel * -(-geometry.array_shape[0] // SLAB) + start // SLAB


def _is_cut(frame: blosc2.NDArray, geometry: Geometry) -> bool:
    """Whether the frame is cut as `Writer` does it now."""
    return bool(frame.blocks == (1, *BLOCK) and frame.chunks == (1, *padded(geometry.array_shape)))


def _has_all_chunks(frame: blosc2.NDArray) -> bool:
    """Blosc2 reads nothing where a chunk is missing, and does not say so."""
    item, chunk = frame.dtype.itemsize, math.prod(frame.chunks)
    slabs = frame.shape[0] * -(-frame.shape[1] // SLAB)
    schunk = frame.schunk
    return bool((schunk.nchunks, schunk.typesize, schunk.chunksize) == (slabs, item, chunk * item))


def _largest_bytes(blocks: Voxels) -> npt.NDArray[np.uint8]:
    """Of blocks (block, k, j, i) each."""
    largest: npt.NDArray[np.uint8] = blocks.view(np.uint8).reshape(len(blocks), -1).max(axis=1)
    return largest


def warm() -> None:
    """Compile what reads an array file, or load it from the cache."""
    grid = Geometry.from_matrix((4, 4, 4), np.eye(4))
    list(decode(encode(["organ"], np.ones((1, 4, 4, 4), np.uint8), grid)).slabs("organ"))


def _runs(chosen: Chosen) -> list[list[int]]:
    """First and end of every run of blocks, in C order, that are chosen."""
    edged = np.zeros(chosen.size + 2, np.bool_)
    edged[1:-1] = chosen.reshape(-1)
    edges = np.flatnonzero(edged[1:] != edged[:-1])
    runs: list[list[int]] = edges.reshape(-1, 2).tolist()
    return runs


def _corrupt(message: str) -> AtlasError:
    return AtlasError(Reason.ARRAY_FILE_CORRUPT, message, field="array", remedy="Fetch or compute it again.")
