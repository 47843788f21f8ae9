"""An array file keeps voxels, names and geometry together, says when it is damaged, and is the same every time."""

import json

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.core import arrayfile
from services.core.blocks import BLOCK, blocks_of, padded
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

AFFINE = (1.5, 0.0, 0.0, -9.0, 0.0, 1.5, 0.0, 4.0, 0.0, 0.0, 1.5, 0.0)


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16]),
        st.tuples(st.integers(1, 4), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9)),
    )
)
def test_what_goes_in_comes_out_whole_and_slab_by_slab(arrays: np.ndarray) -> None:  # type: ignore[type-arg]
    channels = [f"organ{n}" for n in range(len(arrays))]
    geometry = Geometry((arrays.shape[3], arrays.shape[2], arrays.shape[1]), AFFINE)
    opened = arrayfile.decode(arrayfile.encode(channels, arrays, geometry))
    assert (opened.geometry, opened.channels, opened.dtype) == (geometry, tuple(channels), arrays.dtype)
    for name, array in zip(channels, arrays, strict=True):
        assert np.array_equal(opened.channel(name), array)
        assert np.array_equal(np.concatenate([slab for _, slab in opened.slabs(name)]), array)


def noise() -> tuple[np.ndarray, Geometry]:  # type: ignore[type-arg]
    array = np.random.default_rng(0).integers(0, 255, (2, 40, 30, 20), np.uint8)
    return array, Geometry((20, 30, 40), AFFINE)


def test_the_same_array_gives_the_same_bytes() -> None:
    array, geometry = noise()
    assert arrayfile.encode("ab", array, geometry) == arrayfile.encode("ab", array.copy(), geometry)


def test_an_array_of_another_shape_than_its_geometry_is_refused() -> None:
    array, geometry = noise()
    with pytest.raises(AtlasError) as caught:
        arrayfile.encode("ab", array.transpose(0, 3, 2, 1), geometry)
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH


@pytest.mark.parametrize("damage", [lambda d: d[:-100], lambda d: d[:40], lambda d: b"", lambda d: b"x" * len(d)])
def test_what_is_no_array_file_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AtlasError) as caught:
        arrayfile.decode(damage(arrayfile.encode("ab", *noise())))
    assert caught.value.reason == Reason.ARRAY_FILE_CORRUPT


def test_a_channel_that_is_not_there_is_no_damage() -> None:
    array, geometry = noise()
    with pytest.raises(ValueError, match="no channel 'c' among a, b"):
        arrayfile.decode(arrayfile.encode("ab", array, geometry)).channel("c")


def test_types_that_the_contract_does_not_name_are_not_written() -> None:
    _, geometry = noise()
    with pytest.raises(ValueError, match="uint16"):
        arrayfile.Writer("ab", np.uint16, geometry)


@pytest.mark.parametrize(
    "shape", [(5, 6, 7), (1, 50, 50), (33, 40, 41), (31, 250, 250), (70, 37, 41), (40, 512, 512), (33, 333, 1000)]
)
def test_slabs_are_read_the_quick_way_however_the_file_is_blocked(shape: tuple[int, int, int]) -> None:
    """Blosc2 chooses the blocks within a chunk by the size of a slice; only some of them lie in C order."""
    array = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint8)
    array[: 32 if shape[0] > 32 else 0] = 0
    grid = Geometry.from_matrix(shape[::-1], np.eye(4))
    opened = arrayfile.decode(arrayfile.encode(["none", "some"], [array * 0, array], grid))
    slab = np.full((min(32, shape[0]), *shape[1:]), 77, np.uint8)
    for start in range(0, shape[0], 32):
        stop = min(start + 32, shape[0])
        assert not opened.read_slab("none", start, slab)
        assert opened.read_slab("some", start, slab) == array[start:stop].any()
        if array[start:stop].any():
            np.testing.assert_array_equal(slab[: stop - start], array[start:stop])


def written_before(array: np.ndarray, geometry: Geometry) -> bytes:  # type: ignore[type-arg]
    """An array file as they were: blocks as Blosc2 chooses them, and nothing said of them."""
    chunks = (1, min(32, array.shape[1]), *array.shape[2:])
    params = blosc2.CParams(codec=blosc2.Codec.LZ4, filters=[blosc2.Filter.NOFILTER])
    frame = blosc2.zeros(array.shape, dtype=array.dtype, chunks=chunks, cparams=params, contiguous=True)
    for channel, voxels in enumerate(array):
        for start in range(0, len(voxels), 32):
            if voxels[start : start + 32].any():
                frame[channel, start : start + 32] = voxels[start : start + 32]
    frame.schunk.vlmeta["atlas"] = json.dumps(
        {"format": 1, "channels": ["none", "some"], "geometry": json.loads(geometry.to_json())}
    )
    return bytes(frame.to_cframe())


def foreign(array: np.ndarray, chunks: tuple[int, ...], blocks: tuple[int, ...] | None = None) -> blosc2.NDArray:  # type: ignore[type-arg]
    """An array file by another hand, cut in its own way."""
    frame = blosc2.asarray(array, chunks=chunks, blocks=blocks, contiguous=True)
    names = [f"c{number}" for number in range(len(array))]
    _, depth, height, width = array.shape
    grid = Geometry.from_matrix((width, height, depth), np.eye(4))
    frame.schunk.vlmeta["atlas"] = json.dumps({"format": 1, "channels": names, "geometry": json.loads(grid.to_json())})
    return frame


@pytest.mark.parametrize(
    ("channels", "chunks", "blocks"),
    [
        (1, (1, 64, 32, 64), None),
        (2, (2, 16, 32, 64), None),
        (2, (2, 32, 64, 64), (2, 16, 16, 64)),
        (2, (2, 32, 64, 64), (1, 16, 16, 64)),
        (2, (1, 32, 64, 64), (1, 8, 16, 64)),
    ],
)
def test_files_that_are_cut_in_another_way_are_read_right(
    channels: int, chunks: tuple[int, ...], blocks: tuple[int, ...] | None
) -> None:
    array = np.random.default_rng(0).integers(0, 9, (channels, 64, 64, 64)).astype(np.uint8)
    array[:, :32, :32] = 0
    opened = arrayfile.decode(foreign(array, chunks, blocks).to_cframe())
    opened.require_whole()
    for name, voxels in zip(opened.channels, array, strict=True):
        np.testing.assert_array_equal(opened.channel(name), voxels)


def test_a_file_that_lies_of_its_blocks_or_lacks_some_is_refused() -> None:
    """Readers skip what a file says is 0: who takes it from elsewhere has it looked through."""
    array = np.ones((1, 40, 16, 64), np.uint8)
    frame = foreign(array, (1, *padded(array.shape[1:])), (1, *BLOCK))
    told = np.zeros((1, *blocks_of(array.shape[1:])), np.uint8)
    for largest in (0, 1):
        told[:] = largest
        frame.schunk.vlmeta["highest"] = told.tobytes()
        opened = arrayfile.decode(frame.to_cframe())
        if largest:
            opened.require_whole()
            assert not opened.highest("c0")[3:].any(), "behind the grid there is nothing"
        else:
            with pytest.raises(AtlasError, match="other voxels than the array file says") as caught:
                opened.require_whole()
            assert caught.value.reason == Reason.ARRAY_FILE_CORRUPT
    frame.schunk.delete_chunk(1)
    with pytest.raises(AtlasError, match="contradicts its contents"):
        arrayfile.decode(frame.to_cframe())


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
@pytest.mark.parametrize("shape", [(5, 6, 7), (70, 37, 41), (40, 40, 130)])
def test_blocks_are_read_alone_from_old_files_too(shape: tuple[int, int, int], dtype: str) -> None:
    """A file says of every block what its largest byte is; an old one only of slabs that they are 0."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (2, *shape)).astype(dtype) * (rng.random((2, *shape)) < 0.001).astype(dtype)
    array[0] = 0
    array[1, :32] *= shape[0] <= 32
    grid = Geometry.from_matrix(shape[::-1], np.eye(4))
    new = arrayfile.decode(arrayfile.encode(["none", "some"], array, grid))
    old = arrayfile.decode(written_before(array, grid))
    count = blocks_of(shape)
    whole = np.zeros([n * size for n, size in zip(count, BLOCK, strict=True)], dtype)
    whole[tuple(slice(0, n) for n in shape)] = array[1]
    parts = whole.reshape(count[0], BLOCK[0], count[1], BLOCK[1], count[2], BLOCK[2]).transpose(0, 2, 4, 1, 3, 5)
    np.testing.assert_array_equal(new.highest("some"), parts.max(axis=(3, 4, 5)))
    slabs = np.repeat(parts.reshape(count[0] // 2, -1).any(axis=1), 2)
    slabs[-(-shape[0] // BLOCK[0]) :] = False
    np.testing.assert_array_equal(old.highest("some"), np.where(slabs[:, None, None], 255, 0 * parts[..., 0, 0, 0]))
    for file in (new, old):
        assert not file.highest("none").any()
        np.testing.assert_array_equal(file.channel("some"), array[1])
        for start in range(0, shape[0], 32):
            here = slice(start // BLOCK[0], start // BLOCK[0] + 2)
            wanted = rng.random(parts[here].shape[:3]) < 0.5
            into = np.full((wanted.sum(), *BLOCK), 77, dtype)
            file.read_blocks("some", start, wanted, into)
            np.testing.assert_array_equal(into, parts[here][wanted])


def test_what_is_said_of_the_blocks_must_fit_them() -> None:
    array, geometry = noise()
    frame = blosc2.ndarray_from_cframe(arrayfile.encode("ab", array, geometry), copy=True)
    frame.schunk.vlmeta["highest"] = b"\0" * 3
    with pytest.raises(AtlasError) as caught:
        arrayfile.decode(frame.to_cframe()).highest("a")
    assert caught.value.reason == Reason.ARRAY_FILE_CORRUPT


def test_a_damaged_slab_is_told_the_quick_way_too() -> None:
    array = np.repeat(np.random.default_rng(0).integers(0, 255, (64, 50, 5)).astype(np.uint8), 10, axis=2)
    data = bytearray(arrayfile.encode(["x"], [array], Geometry.from_matrix((50, 50, 64), np.eye(4))))
    data[len(data) // 3 : len(data) // 3 + 2000] = b"\xff" * 2000
    opened, slab = arrayfile.decode(bytes(data)), np.empty((32, 50, 50), np.uint8)
    with pytest.raises(AtlasError) as caught:
        [opened.read_slab("x", start, slab) for start in (0, 32)]
    assert caught.value.reason == Reason.ARRAY_FILE_CORRUPT
