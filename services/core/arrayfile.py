"""Array files: voxel arrays of several channels on one grid, as one compressed run of bytes.

An array file is a contiguous Blosc2 frame of shape (channel, k, j, i) with lz4 and no filter (bit shuffling makes these
arrays larger and slower), cut into chunks of one channel and 32 slices, so that a reader takes slab by slab. Geometry
and channel names travel in the frame's metadata. Writing the same array twice gives the same bytes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import blosc2
import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

SLAB = 32
MAX_CHANNELS = 256
_FORMAT = 1
_DTYPES = ("uint8", "int16")
Voxels = npt.NDArray[np.uint8] | npt.NDArray[np.int16]


def slab_bytes(geometry: Geometry) -> int:
    """Memory of one decompressed slab on `geometry`, at two bytes a voxel."""
    depth, *plane = geometry.array_shape
    return 2 * min(SLAB, depth) * plane[0] * plane[1]


@dataclass(frozen=True)
class ArrayFile:
    """An opened array file. Voxels are decompressed when they are asked for."""

    geometry: Geometry
    channels: tuple[str, ...]
    dtype: np.dtype[np.generic]
    _frame: blosc2.NDArray

    def channel(self, name: str) -> Voxels:
        """One whole channel, shape (k, j, i). Raises ARRAY_FILE_CORRUPT, and ValueError if there is no such channel."""
        depth, *plane = self.geometry.array_shape
        thick = min(SLAB, depth)
        # Pages of slabs that are 0 are never touched, and take no memory.
        voxels = np.zeros((-(-depth // thick) * thick, *plane), self.dtype)
        for start in range(0, depth, thick):
            self.read_slab(name, start, cast(Voxels, voxels[start : start + thick]))
        return cast(Voxels, voxels[:depth])

    def slab(self, name: str, start: int, stop: int) -> Voxels:
        """Slices [start, stop) along k of one channel, shape (stop - start, j, i).

        Raises ARRAY_FILE_CORRUPT, and ValueError if there is no such channel.
        """
        if name not in self.channels:
            raise ValueError(f"there is no channel {name!r} among {', '.join(self.channels)}")
        try:
            return cast(Voxels, self._frame[self.channels.index(name), start:stop])
        except (RuntimeError, ValueError) as error:
            raise _corrupt(f"Channel {name!r} cannot be decompressed.") from error

    def read_slab(self, name: str, start: int, into: Voxels) -> bool:
        """Put the slab of one channel that begins at slice `start`, a multiple of `SLAB`, into `into`; the quick way.

        `into` is C-contiguous, of this file's dtype and shape (min(SLAB, depth), j, i); behind the last slice of the
        grid it holds 0 or what it held. False, and `into` left alone, if the whole slab is 0. Raises
        ARRAY_FILE_CORRUPT, and ValueError if there is no such channel.
        """
        depth = self.geometry.array_shape[0]
        stop = min(start + SLAB, depth)
        if not self._whole_slabs:
            slab = self.slab(name, start, stop)
            into[: stop - start] = slab
            return bool(slab.any())
        if name not in self.channels:
            raise ValueError(f"there is no channel {name!r} among {', '.join(self.channels)}")
        number = self.channels.index(name) * -(-depth // SLAB) + start // SLAB
        if self._empty_slabs[number]:
            return False
        try:
            self._frame.schunk.decompress_chunk(number, dst=into)
        except (RuntimeError, ValueError) as error:
            raise _corrupt(f"Channel {name!r} cannot be decompressed.") from error
        return True

    @cached_property
    def _whole_slabs(self) -> bool:
        return _is_in_order(self._frame)

    @cached_property
    def _empty_slabs(self) -> tuple[bool, ...]:
        try:
            return tuple(info.special == blosc2.SpecialValue.ZERO for info in self._frame.schunk.iterchunks_info())
        except (RuntimeError, ValueError) as error:
            raise _corrupt("The array file's chunks cannot be listed.") from error

    def slabs(self, name: str) -> Iterator[tuple[int, Voxels]]:
        """(first slice, slab) for the slabs of one channel, in order, each one chunk of the file."""
        depth = self.geometry.array_shape[0]
        for start in range(0, depth, SLAB):
            yield start, self.slab(name, start, min(start + SLAB, depth))


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
            chunks=(1, min(SLAB, geometry.array_shape[0]), *geometry.array_shape[1:]),
            cparams=blosc2.CParams(codec=blosc2.Codec.LZ4, clevel=5, filters=[blosc2.Filter.NOFILTER], nthreads=1),
            contiguous=True,
        )
        self._is_in_order = _is_in_order(self._frame)
        self._slab = np.zeros(self._frame.chunks[1:], self._frame.dtype)

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
            if piece.shape == self._slab.shape and piece.dtype == self._slab.dtype:
                self._put(index, start, np.ascontiguousarray(piece))
                continue
            part = self._slab[low - start : high - start, j, i]
            part[...] = piece
            self._put(index, start, self._slab)
            part[...] = 0

    def _put(self, index: int, start: int, slab: Voxels) -> None:
        """Compress the slab of a channel that begins at slice `start`."""
        depth = self._geometry.array_shape[0]
        if self._is_in_order:
            # The quick way, without the detour over a part of the array.
            self._frame.schunk.update_data(index * -(-depth // SLAB) + start // SLAB, slab, copy=True)
        else:
            stop = min(start + SLAB, depth)
            self._frame[index, start:stop] = slab[: stop - start]

    def finish(self) -> bytes:
        """The array file."""
        self._frame.schunk.vlmeta["atlas"] = json.dumps(
            {"format": _FORMAT, "channels": self._channels, "geometry": json.loads(self._geometry.to_json())}
        )
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
    ):
        raise _corrupt("The array file's metadata contradicts its contents.")
    frame.schunk.dparams = blosc2.DParams(nthreads=1)
    return ArrayFile(geometry, channels, frame.dtype, frame)


def _is_in_order(frame: blosc2.NDArray) -> bool:
    """Whether a chunk's bytes, block after block, are a slab's in C order."""
    _, depth, height, width = frame.shape
    k, j, i = frame.blocks[1:]
    thick = min(SLAB, depth)
    in_order = i == width and (j == height or (k == 1 and height % j == 0))
    return bool(frame.chunks == (1, thick, height, width) and in_order and thick % k == 0)


def _corrupt(message: str) -> AtlasError:
    return AtlasError(Reason.ARRAY_FILE_CORRUPT, message, field="array", remedy="Fetch or compute it again.")
