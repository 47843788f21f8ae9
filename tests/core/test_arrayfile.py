"""An array file keeps voxels, names and geometry together, says when it is damaged, and is the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.core import arrayfile
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

AFFINE = (1.5, 0.0, 0.0, -9.0, 0.0, 1.5, 0.0, 4.0, 0.0, 0.0, 1.5, 0.0)


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


def test_a_damaged_slab_is_told_the_quick_way_too() -> None:
    array = np.repeat(np.random.default_rng(0).integers(0, 255, (64, 50, 5)).astype(np.uint8), 10, axis=2)
    data = bytearray(arrayfile.encode(["x"], [array], Geometry.from_matrix((50, 50, 64), np.eye(4))))
    data[len(data) // 3 : len(data) // 3 + 2000] = b"\xff" * 2000
    opened, slab = arrayfile.decode(bytes(data)), np.empty((32, 50, 50), np.uint8)
    with pytest.raises(AtlasError) as caught:
        [opened.read_slab("x", start, slab) for start in (0, 32)]
    assert caught.value.reason == Reason.ARRAY_FILE_CORRUPT
