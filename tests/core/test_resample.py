"""Trilinear resampling against SciPy, and the laws it must keep whatever the CT's orientation."""

import itertools
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid
from services.core.resample import AIR_HU, to_ct_mask, to_grid

Floats = npt.NDArray[np.float64]
Int16 = npt.NDArray[np.int16]

TURNS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def rotation(*degrees: float) -> Floats:
    """Rotation matrix about x, y and z, one after the other."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def geometry(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], degrees: tuple[float, float, float] = (0, 0, 0)
) -> Geometry:
    """A grid somewhere off the origin; index axes along R, A, S before the rotation."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(*degrees) @ np.diag(spacing)
    matrix[:3, 3] = (-31.25, 12.7, -803.1)
    return Geometry.from_matrix(shape, matrix)


def noise(where: Geometry, seed: int = 0) -> Int16:
    return np.random.default_rng(seed).integers(-1024, 3000, where.array_shape).astype(np.int16)


def blob(where: Geometry, seed: int = 0) -> npt.NDArray[np.uint16]:
    """A smooth uint16 field from 0 to 765, most of it zero: three models' probabilities of one organ."""
    raw = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=where.array_shape), 2)
    return cast(npt.NDArray[np.uint16], (np.clip(raw / raw.max() * 4 - 0.8, 0, 1) * 765).astype(np.uint16))


def stack(sums: npt.NDArray[np.uint16], models: int) -> npt.NDArray[np.uint8]:
    """Probabilities (model, z, y, x) of some models that add up to `sums`."""
    return np.stack([np.clip(sums.astype(np.int32) - 255 * n, 0, 255).astype(np.uint8) for n in range(models)])


def fused(sums: npt.NDArray[np.uint16], grid: Geometry, ct: Geometry, models: int) -> npt.NDArray[np.uint8]:
    """The whole mask of `to_ct_mask`, given the models at once."""
    return to_ct_mask([(0, stack(sums, models))], grid, ct, weights=[1] * models).whole(ct.array_shape)


def turned(
    array: npt.NDArray[np.generic], where: Geometry, axes: tuple[int, ...], signs: tuple[int, ...]
) -> tuple[npt.NDArray[np.generic], Geometry]:
    """The same volume with index axis n taken from axis `axes[n]` (NIfTI order), backwards where the sign is -1."""
    matrix = where.matrix.copy()
    out = array.transpose([2 - axes[2 - n] for n in range(3)])
    matrix[:3, :3] = where.matrix[:3, list(axes)]
    shape = tuple(where.shape[a] for a in axes)
    for n, sign in enumerate(signs):
        if sign < 0:
            out = np.flip(out, axis=2 - n)
            matrix[:3, 3] += matrix[:3, n] * (shape[n] - 1)
            matrix[:3, n] *= -1
    return np.ascontiguousarray(out), Geometry.from_matrix(cast(tuple[int, int, int], shape), matrix)


def reference(source: npt.NDArray[np.generic], source_grid: Geometry, target: Geometry) -> tuple[Floats, Floats]:
    """SciPy's trilinear values at the target's voxel centres, and the positions in the source (axis, z, y, x)."""
    index = np.indices(target.array_shape, np.float64)[::-1].reshape(3, -1)
    matrix = np.linalg.inv(source_grid.matrix) @ target.matrix
    position = (matrix[:3, :3] @ index + matrix[:3, 3:])[::-1].reshape(3, *target.array_shape)
    last = np.array(source_grid.array_shape).reshape(3, 1, 1, 1) - 1
    values = ndimage.map_coordinates(
        source.astype(np.float64), np.clip(position, 0, last), order=1, mode="nearest", prefilter=False
    )
    return values, position


def border_distance(position: Floats, where: Geometry) -> Floats:
    """How far inside the outer faces of `where` each position is, in voxels; negative outside."""
    last = np.array(where.array_shape).reshape(3, 1, 1, 1) - 1
    return cast(Floats, np.minimum(position + 0.5, last + 0.5 - position).min(axis=0))


CASES = {
    "isotropic": geometry((20, 21, 22), (1.5, 1.5, 1.5)),
    "thin in plane, thick slices": geometry((40, 37, 9), (0.7421875, 0.7421875, 5.0)),
    "one slice": geometry((30, 31, 1), (0.8, 0.8, 5.0)),
    "finer than the grid": geometry((33, 20, 41), (0.4, 0.9, 0.5)),
    "oblique": geometry((34, 30, 19), (0.8, 0.9, 3.0), (18.5, -7, 11)),
    "tilted about one axis": geometry((34, 30, 19), (0.8, 0.8, 3.0), (-18.5, 0, 0)),
    "header noise": geometry((40, 37, 20), (0.7, 0.7, 2.5), (1e-5, 0, -1e-5)),
}


@pytest.mark.parametrize("ct", CASES.values(), ids=CASES.keys())
def test_the_grid_holds_scipys_trilinear_values(ct: Geometry) -> None:
    """Every voxel is within rounding of SciPy's float64 result, and `outside` beyond half a voxel of the border."""
    array, grid = noise(ct), network_grid(ct)
    got = to_grid(array, ct, grid)
    want, position = reference(array, ct, grid)
    distance = border_distance(position, ct)
    inside = distance > 1e-3
    # A weight off by 1e-3 voxels (header noise snapped away) moves white noise of 4000 HU by at most a few HU.
    tolerance = 8.0 if ct is CASES["header noise"] else 0.51
    assert np.abs(got[inside] - want[inside]).max() <= tolerance
    assert (got[distance < -1e-3] == AIR_HU).all()
    assert got.dtype == np.int16
    assert inside.any()


@pytest.mark.parametrize("degrees", [(0, 0, 0), (18.5, -7, 11), (0, 30, 0)], ids=["parallel", "oblique", "tilted"])
@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_turning_the_ct_changes_nothing(
    axes: tuple[int, ...], signs: tuple[int, ...], degrees: tuple[float, float, float]
) -> None:
    """All 48 ways to store the same CT give the same grid array bit for bit, and the same mask turned alike."""
    ct = geometry((26, 21, 9), (0.7, 0.9, 3.1), degrees)
    array, grid = noise(ct), network_grid(ct)
    other, other_geometry = turned(array, ct, axes, signs)
    assert network_grid(other_geometry) == grid
    np.testing.assert_array_equal(
        to_grid(cast(Int16, other), other_geometry, grid), to_grid(array, ct, grid), strict=True
    )
    sums = blob(grid)
    mask = fused(sums, grid, ct, 3)
    assert mask.any()
    np.testing.assert_array_equal(fused(sums, grid, other_geometry, 3), turned(mask, ct, axes, signs)[0], strict=True)


@pytest.mark.parametrize("ct", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("models", [1, 2, 3, 4])
def test_the_mask_is_scipys_interpolation_above_one_half(ct: Geometry, models: int) -> None:
    """A voxel differs from SciPy's only where the interpolated sum is within float noise of the threshold."""
    grid = network_grid(ct)
    sums = (blob(grid) // 3 * models).astype(np.uint16)
    got = fused(sums, grid, ct, models)
    want, _ = reference(sums, grid, ct)
    margin = np.abs(2 * want - 255 * models)
    clear = margin > (2.0 if ct is CASES["header noise"] else 0.01)
    np.testing.assert_array_equal(got[clear], (2 * want > 255 * models)[clear])
    assert got.dtype == np.uint8
    assert got.any()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 24)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    seed=st.integers(0, 99),
)
def test_any_ct_agrees_with_scipy(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], degrees: tuple[float, float, float], seed: int
) -> None:
    """Both ways, for random shapes, voxel sizes and obliqueness."""
    ct = geometry(shape, spacing, degrees)
    grid = network_grid(ct)
    array = noise(ct, seed)
    want, position = reference(array, ct, grid)
    inside = border_distance(position, ct) > 1e-3
    assert (np.abs(to_grid(array, ct, grid)[inside] - want[inside]) <= 8.0).all()
    sums = blob(grid, seed) if np.ptp(grid.shape) else np.zeros(grid.array_shape, np.uint16)
    want, position = reference(sums, grid, ct)
    clear = (np.abs(2 * want - 765) > 4.0) & (border_distance(position, grid) > 1e-3)
    np.testing.assert_array_equal(fused(sums, grid, ct, 3)[clear], (2 * want > 765)[clear])


def test_probability_one_half_is_not_above_one_half() -> None:
    """Strictly above: two models with sum 255 everywhere give an empty mask, 256 a full one."""
    ct = geometry((12, 13, 5), (0.8, 0.8, 3.0), (5, 6, 7))
    grid = network_grid(ct)
    assert not fused(np.full(grid.array_shape, 255, np.uint16), grid, ct, 2).any()
    assert fused(np.full(grid.array_shape, 256, np.uint16), grid, ct, 2).all()


def test_outside_the_grid_there_is_no_organ() -> None:
    """CT voxels beyond a grid that covers a part of the CT are 0, up to half a grid voxel they take its edge."""
    ct = geometry((10, 10, 10), (1.0, 1.0, 1.0))
    matrix = ct.matrix.copy()
    matrix[:3, 3] += 3.0
    grid = Geometry.from_matrix((4, 4, 4), matrix)
    mask = fused(np.full(grid.array_shape, 255, np.uint16), grid, ct, 1)
    assert mask.sum() == 64
    assert mask[3:7, 3:7, 3:7].all()


def test_a_single_voxel_survives() -> None:
    """One voxel of certainty is found again on a finer CT, and only within half a grid voxel around it."""
    ct = geometry((30, 30, 30), (0.5, 0.5, 0.5))
    grid = network_grid(ct)
    sums = np.zeros(grid.array_shape, np.uint16)
    sums[4, 5, 6] = 255
    want, _ = reference(sums, grid, ct)
    np.testing.assert_array_equal(fused(sums, grid, ct, 1), 2 * want > 255)


def test_an_array_that_does_not_fit_its_geometry_is_refused() -> None:
    """Both shapes are named."""
    ct = geometry((10, 11, 12), (1, 1, 1))
    with pytest.raises(AtlasError, match=r"10x11x11 voxels.*10x11x12 voxels") as caught:
        to_grid(np.zeros((11, 11, 10), np.int16), ct, network_grid(ct))
    assert caught.value.reason is Reason.GEOMETRY_MISMATCH
    with pytest.raises(AtlasError, match=r"shape \(3, 11, 11, 10\) at slice 0 is no part of 3 models"):
        fused(np.zeros((11, 11, 10), np.uint16), network_grid(ct), ct, 3)


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(1, 90),
    cuts=st.sets(st.integers(1, 89)),
    tilt=st.sampled_from([0.0, 12.0]),
    signs=st.sampled_from([(1, 1), (-1, 1), (1, -1)]),
    seed=st.integers(0, 99),
)
def test_slabs_of_any_size_give_the_same_mask_and_those_without_an_organ_may_be_left_out(
    depth: int, cuts: set[int], tilt: float, signs: tuple[int, int], seed: int
) -> None:
    """The mask is that of all slices at once, and its box holds all of it."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(tilt, 0, 0) @ np.diag((0.8 * signs[0], 0.9, 1.1 * signs[1]))
    ct = Geometry.from_matrix((9, 8, depth), matrix)
    grid = network_grid(ct)
    sums = blob(grid, seed) if depth > 3 else np.full(grid.array_shape, 700, np.uint16)
    edges = [0, *sorted(c for c in cuts if c < len(sums)), len(sums)]
    rng = np.random.default_rng(seed)
    for first, stop in itertools.pairwise(edges):
        sums[first:stop] *= rng.random() < 0.6
    members = stack(sums, 3)
    slabs = [(first, members[:, first:stop]) for first, stop in itertools.pairwise(edges) if sums[first:stop].any()]
    result = to_ct_mask(slabs, grid, ct, weights=[1] * 3).whole(ct.array_shape)
    np.testing.assert_array_equal(result, fused(sums, grid, ct, 3))
    want, position = reference(sums, grid, ct)
    clear = (np.abs(2 * want - 765) > 4.0) & (border_distance(position, grid) > 1e-3)
    np.testing.assert_array_equal(result[clear], (2 * want > 765)[clear])


@pytest.mark.parametrize(
    "slabs",
    [
        [(0, np.zeros((2, 4, 3, 3), np.uint8))],
        [(0, np.zeros((1, 4, 3, 3), np.uint16))],
        [(1, np.zeros((1, 3, 3, 3), np.uint8)), (3, np.zeros((1, 1, 3, 3), np.uint8))],
        [(2, np.zeros((1, 3, 3, 3), np.uint8))],
        [(-1, np.zeros((1, 3, 3, 3), np.uint8))],
    ],
    ids=["models", "dtype", "overlap", "beyond the end", "before the start"],
)
def test_slabs_that_are_no_part_of_the_grid_are_refused(slabs: list[tuple[int, npt.NDArray[np.uint8]]]) -> None:
    grid = Geometry.from_matrix((3, 3, 4), np.diag([1.5, 1.5, 1.5, 1]))
    with pytest.raises(AtlasError) as caught:
        to_ct_mask(slabs, grid, grid, weights=[1])
    assert caught.value.reason is Reason.GEOMETRY_MISMATCH
