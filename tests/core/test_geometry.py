"""Left and right come from the affine, and a grid does not depend on how the array happens to lie."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid, require_same

LPS = Geometry((4, 5, 6), (-0.7, 0, 0, 100, 0, -0.7, 0, 90, 0, 0, 2.5, -300))


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any rotation, spacing, shape and origin that a scanner might write."""
    shape = draw(st.tuples(*[st.integers(1, 60)] * 3))
    spacing = np.diag(draw(st.tuples(*[st.floats(0.3, 6)] * 3)))
    a, b, c = draw(st.tuples(*[st.floats(-math.pi, math.pi)] * 3))
    turn = (
        np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
        @ np.array([[math.cos(c), 0, math.sin(c)], [0, 1, 0], [-math.sin(c), 0, math.cos(c)]])
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ spacing
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return Geometry.from_matrix(shape, matrix)


def flipped(geometry: Geometry, axis: int) -> Geometry:
    """The same voxels in the same place, stored in the opposite order along one index axis."""
    step = np.eye(4)
    step[axis, axis], step[axis, 3] = -1, geometry.shape[axis] - 1
    return Geometry.from_matrix(geometry.shape, geometry.matrix @ step)


def test_spacing_volume_and_orientation_of_a_common_header() -> None:
    assert LPS.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
    assert LPS.voxel_volume_mm3 == pytest.approx(0.7 * 0.7 * 2.5)
    assert LPS.orientation == "LPS"
    assert LPS.array_shape == (6, 5, 4)


@given(geometries())
def test_json_gives_back_the_same_geometry(geometry: Geometry) -> None:
    assert Geometry.from_json(geometry.to_json()) == geometry
    assert Geometry.from_json(geometry.to_json()).digest == geometry.digest


@given(geometries(), st.integers(0, 2))
def test_the_network_grid_does_not_depend_on_the_order_of_the_voxels(geometry: Geometry, axis: int) -> None:
    first, second = network_grid(geometry), network_grid(flipped(geometry, axis))
    assert first.shape == second.shape
    assert np.allclose(first.matrix, second.matrix, atol=1e-3)


@given(geometries(), st.sampled_from([1.5, 3.0]))
def test_the_network_grid_covers_the_ct_and_little_more(geometry: Geometry, spacing_mm: float) -> None:
    grid = network_grid(geometry, spacing_mm)
    assert grid.orientation == "RAS"
    assert grid.spacing_mm == pytest.approx((spacing_mm,) * 3)
    inner, outer = geometry.corners_mm(), grid.corners_mm()
    assert (outer.min(axis=0) <= inner.min(axis=0) + 1e-3).all()
    assert (outer.max(axis=0) >= inner.max(axis=0) - 1e-3).all()
    assert (np.ptp(outer, axis=0) <= np.ptp(inner, axis=0) + spacing_mm + 1e-3).all()


@pytest.mark.parametrize(
    ("affine", "what"),
    [
        ((0.0,) * 12, "zero"),
        ((math.nan, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "not finite"),
        ((1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0), "singular"),
    ],
)
def test_a_broken_affine_is_refused(affine: tuple[float, ...], what: str) -> None:
    with pytest.raises(AtlasError) as caught:
        Geometry((2, 2, 2), affine)
    assert caught.value.reason == Reason.AFFINE_INVALID, what


def test_grids_that_differ_are_refused_by_name() -> None:
    moved = Geometry(LPS.shape, (*LPS.affine[:11], LPS.affine[11] + 246))
    assert not moved.is_close(LPS)
    with pytest.raises(AtlasError, match=r"ct\.nii has .*liver\.nii has") as caught:
        require_same(LPS, moved, first_name="ct.nii", second_name="liver.nii")
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH
    assert str(caught.value).count("ct.nii") == 1, "the field is named once"
    assert str(caught.value.at("labels")).startswith("labels: ct.nii has")


def test_float_noise_of_a_header_is_close_but_not_the_same() -> None:
    noisy = Geometry(LPS.shape, tuple(v * (1 + 1e-7) for v in LPS.affine))
    assert noisy.is_close(LPS)
    assert noisy.digest != LPS.digest
