"""The measures of agreement against surface-distance and SciPy."""

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from services.core import metrics, nifti
from services.core.boxes import crop
from services.core.errors import AtlasError, Reason
from services.core.metrics.elements import element_areas_mm2
from services.core.metrics.pair import Mask

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import surface_distance
    from surface_distance import lookup_tables

SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.7324, 0.8, 1.0, 1.5, 2.5, 5.0])] * 3)
Triple = tuple[float, float, float]


def blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """A random mask, from dust to smooth blobs."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 3))
    return np.asarray(noise > np.quantile(noise, rng.uniform(0.3, 0.95)))


def oracle(first: Mask, second: Mask, spacing_mm: Triple, tolerance_mm: float) -> tuple[float, float, float]:
    """DSC, NSD and HD95 by surface-distance, whose spacing is in the order of the array's axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = surface_distance.compute_surface_distances(first, second, spacing_mm[::-1])
        return (
            float(surface_distance.compute_dice_coefficient(first, second)),
            float(surface_distance.compute_surface_dice_at_tolerance(found, tolerance_mm)),
            float(surface_distance.compute_robust_hausdorff(found, 95)),
        )


@given(SPACINGS)
@settings(max_examples=20, deadline=None)
def test_a_surface_has_the_area_that_surface_distance_gives_it(spacing_mm: Triple) -> None:
    # Theirs numbers the eight voxels the other way round.
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm[::-1])
    turned = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    np.testing.assert_allclose(element_areas_mm2(spacing_mm), expected[turned], rtol=1e-12)


@given(st.integers(0, 2**32 - 1), SPACINGS, st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5, 7.0, 50.0]))
@settings(max_examples=60, deadline=None)
def test_equals_surface_distance_on_masks_of_any_shape_and_spacing(
    seed: int, spacing_mm: Triple, tolerance_mm: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 24, 3))
    first, second = blobs(rng, shape), blobs(rng, shape)
    if rng.random() < 0.5:
        second = first ^ (rng.random(shape) < 0.02)
    if not (first.any() and second.any()):
        return
    found = metrics.agreement(first, second, spacing_mm, tolerance_mm=tolerance_mm)
    expected = oracle(first, second, spacing_mm, tolerance_mm)
    np.testing.assert_allclose((found.dsc, found.nsd, found.hd95_mm), expected, rtol=1e-6, atol=1e-12)
    assert found.dsc == metrics.dsc(first, second)
    assert found.nsd == metrics.nsd(first, second, spacing_mm, tolerance_mm)
    assert found.hd95_mm == metrics.hd95_mm(first, second, spacing_mm)
    quick = metrics.agreement(first, second, spacing_mm, tolerance_mm=tolerance_mm, with_hd95=False)
    assert (quick.dsc, quick.nsd) == (found.dsc, found.nsd)
    assert math.isnan(quick.hd95_mm)


@pytest.mark.parametrize("gap", [0, 3, 40, 150])
def test_hd95_is_exact_however_far_the_surfaces_are_apart(gap: int) -> None:
    rng = np.random.default_rng(gap)
    first, second = np.zeros((2, 20, 30, 60 + gap), np.bool_)
    first[3:15, 4:20, 2:25] = rng.random((12, 16, 23)) < 0.9
    second[5:18, 8:28, 20 + gap : 50 + gap] = rng.random((13, 20, 30)) < 0.9
    spacing_mm = (0.8, 0.8, 2.5)
    assert metrics.hd95_mm(first, second, spacing_mm) == pytest.approx(oracle(first, second, spacing_mm, 1)[2])


def test_surface_distances_are_those_of_a_full_distance_transform() -> None:
    """NSD of one voxel against a far one steps from 0 to 1 exactly at SciPy's distance."""
    first, second = np.zeros((2, 9, 9, 9), np.uint8)
    first[1, 1, 1], second[6, 5, 7] = 1, 1
    spacing_mm = (0.7, 0.9, 1.3)
    corners = np.zeros((9, 9, 9), np.bool_)
    corners[6:8, 5:7, 7:9] = True
    to_second = ndimage.distance_transform_edt(~corners, sampling=spacing_mm[::-1])
    farthest, nearest = to_second[1:3, 1:3, 1:3].max(), to_second[1:3, 1:3, 1:3].min()
    assert metrics.nsd(first, second, spacing_mm, float(farthest)) == 1
    assert 0 < metrics.nsd(first, second, spacing_mm, float(np.nextafter(farthest, 0))) < 1
    assert metrics.nsd(first, second, spacing_mm, float(np.nextafter(nearest, 0))) == 0


def test_empty_masks_have_stated_results() -> None:
    empty, one = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8)
    one[1, 2, 3] = 1
    both = metrics.agreement(empty, empty, (1, 1, 1))
    assert math.isnan(both.dsc)
    assert math.isnan(both.nsd)
    assert math.isnan(both.hd95_mm)
    assert both.volume_difference_ml == 0
    for first, second, sign in ((one, empty, -1), (empty, one, 1)):
        found = metrics.agreement(first, second, (2, 5, 10))
        assert (found.dsc, found.nsd, found.hd95_mm) == (0, 0, math.inf)
        assert found.volume_difference_ml == pytest.approx(sign * 0.1)
    same = metrics.agreement(one, one, (1, 1, 1), tolerance_mm=0)
    assert (same.dsc, same.nsd, same.hd95_mm) == (1, 1, 0)


def test_a_mask_at_the_edge_of_the_volume_has_its_surface_there() -> None:
    full = np.ones((4, 5, 70), np.uint8)
    inner = full.copy()
    inner[0] = 0
    found = metrics.agreement(full, inner, (1.0, 1.0, 3.0))
    np.testing.assert_allclose(
        (found.nsd, found.hd95_mm), oracle(full > 0, inner > 0, (1.0, 1.0, 3.0), 1)[1:], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("arguments", "reason", "field"),
    [
        ({"second": np.zeros((2, 2, 3), np.uint8)}, Reason.GEOMETRY_MISMATCH, "second"),
        ({"second": np.zeros((2, 2, 2), np.float32)}, Reason.DTYPE_UNSUPPORTED, "second"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, Reason.FIELD_INVALID, "spacing_mm"),
        ({"spacing_mm": (1.0, math.nan, 1.0)}, Reason.FIELD_INVALID, "spacing_mm"),
        ({"tolerance_mm": -1.0}, Reason.FIELD_INVALID, "tolerance_mm"),
        ({"tolerance_mm": 50.1}, Reason.FIELD_INVALID, "tolerance_mm"),
        ({"tolerance_mm": math.inf}, Reason.FIELD_INVALID, "tolerance_mm"),
    ],
)
def test_refuses_what_makes_no_sense(arguments: dict[str, Any], reason: Reason, field: str) -> None:
    mask = np.ones((2, 2, 2), np.uint8)
    given = {"first": mask, "second": mask, "spacing_mm": (1.0, 1.0, 1.0), **arguments}
    with pytest.raises(AtlasError) as caught:
        metrics.agreement(**given)
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.skipif("ATLAS_REAL_DATA" not in os.environ, reason="ATLAS_REAL_DATA names no folder of real masks")
@pytest.mark.parametrize("organ", ["gall_bladder", "pancreas", "kidney_left"])
def test_equals_surface_distance_on_real_organs(organ: str) -> None:
    mask = nifti.read_mask(Path(os.environ["ATLAS_REAL_DATA"]) / "abdomenatlas_masks9" / f"{organ}.nii.gz")
    first = crop(mask.voxels).voxels.view(np.bool_)
    # A second reader, whose outline wanders by some voxels and who misses the last slices.
    rng = np.random.default_rng(5)
    wander = ndimage.gaussian_filter(rng.normal(size=first.shape).astype(np.float32), 4)
    second = ndimage.gaussian_filter(first.astype(np.float32), 1.5) > 0.5 + 8 * wander
    second[:2] = False
    found = metrics.agreement(first, second, mask.geometry.spacing_mm)
    expected = oracle(first, second, mask.geometry.spacing_mm, 1.0)
    np.testing.assert_allclose((found.dsc, found.nsd, found.hd95_mm), expected, rtol=1e-6)
    assert 0.3 < found.nsd < 0.98
