"""The ensemble's mask: mean above one half on the CT's own grid, largest component."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as untyped_sitk  # noqa: N813
from scipy import ndimage

from services.core import arrayfile
from services.core.boxes import Boxed, Mask, crop
from services.core.components import largest_component
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry, network_grid
from services.merging.fusion import FUSIONS, mean
from services.merging.policy import Fusion
from services.merging.weights import HEAVIEST, weights

sitk: Any = untyped_sitk


def scanned(shape: tuple[int, int, int], spacing: tuple[float, float, float], orientation: str = "RAS") -> Geometry:
    """A CT of shape and spacing along i, j, k, whose axes run as `orientation` says, centred on 0."""
    matrix = np.eye(4)
    for index, code in enumerate(orientation):
        axis = next(n for n, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        matrix[:3, index] = 0
        matrix[axis, index] = spacing[index] * (1 if code in "RAS" else -1)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry.from_matrix(shape, matrix)


def ball(grid: Geometry, centre_mm: tuple[float, float, float], radius_mm: float, soft_mm: float = 4.0) -> Mask:
    """Probability of a soft ball at the voxel centres of an axis-aligned RAS grid."""
    k, j, i = np.meshgrid(*[np.arange(n) for n in grid.array_shape], indexing="ij")
    points = np.stack([i, j, k], axis=-1) @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    distance = np.linalg.norm(points - centre_mm, axis=-1)
    return np.asarray(255 / (1 + np.exp((distance - radius_mm) / soft_mm)), np.uint8)


def ensemble(grid: Geometry, *models: Mask, organ: str = "liver") -> Ensemble:
    return Ensemble(tuple(arrayfile.decode(arrayfile.encode([organ], [model], grid)) for model in models))


def whole(mask: Boxed, geometry: Geometry) -> Mask:
    result = np.zeros(geometry.array_shape, np.uint8)
    result[mask.slices] = mask.voxels
    return result


def fuse(models: Ensemble, organ: str, ct: Geometry) -> Boxed:
    return largest_component(mean(models, organ, ct, [1] * len(models.having(organ))), ct.orientation)


CT = scanned((40, 44, 30), (1.1, 0.9, 2.3), "LPS")
GRID = network_grid(CT)


@pytest.mark.parametrize("models", [1, 2, 3, 16])
def test_equals_interpolating_the_mean_in_float64(models: int) -> None:
    probabilities = [ball(GRID, (3.0 + n, -2.0, 1.0), 12.0 + n / 4) for n in range(models)]
    found = whole(fuse(ensemble(GRID, *probabilities), "liver", CT), CT)
    k, j, i = np.meshgrid(*[np.arange(n) for n in CT.array_shape], indexing="ij")
    to_grid = np.linalg.inv(GRID.matrix) @ CT.matrix
    positions = np.einsum("ab,b...->a...", to_grid, np.stack([i, j, k, np.ones_like(i)]))[2::-1]
    mean = ndimage.map_coordinates(np.mean(probabilities, axis=0), positions, order=1, mode="nearest") / 255
    is_clear = np.abs(mean - 0.5) > 1e-5
    assert is_clear.mean() > 0.999
    np.testing.assert_array_equal(found[is_clear], (mean > 0.5)[is_clear])


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL", "PIR"])
def test_orientation_of_the_ct_changes_no_voxel_of_the_patient(orientation: str) -> None:
    reference = scanned((40, 44, 30), (1.1, 0.9, 2.3), "RAS")
    sizes = dict(zip("RAS", zip(reference.shape, reference.spacing_mm, strict=True), strict=True))
    axes = [next(pair[0] for pair in ("RL", "AP", "SI") if code in pair) for code in orientation]
    n, spacing = zip(*[sizes[axis] for axis in axes], strict=True)
    turned = scanned((n[0], n[1], n[2]), (spacing[0], spacing[1], spacing[2]), orientation)
    # Two balls of exactly the same size: only the order in the patient says which one stays.
    grid = network_grid(reference)
    twins = ball(grid, (-11.0, 0.0, 0.0), 6.0, 0.5)
    twins = np.maximum(twins, twins[:, :, ::-1])
    assert network_grid(turned) == grid
    found = whole(fuse(ensemble(grid, twins), "liver", turned), turned)
    expected = whole(fuse(ensemble(grid, twins), "liver", reference), reference)
    steps = [1 if code in "RAS" else -1 for code in orientation]
    back = found.transpose()[:: steps[0], :: steps[1], :: steps[2]]
    back = back.transpose([axes.index(code) for code in "RAS"]).transpose()
    np.testing.assert_array_equal(back, expected)
    assert expected[:, :, :20].any()
    assert not expected[:, :, 20:].any()


def test_half_is_not_above_half() -> None:
    one, none = np.full(GRID.array_shape, 255, np.uint8), np.zeros(GRID.array_shape, np.uint8)
    assert fuse(ensemble(GRID, one, none), "liver", CT).voxels.size == 0
    assert fuse(ensemble(GRID, one, one, none), "liver", CT).count == CT.voxel_count


def test_only_models_that_have_the_organ_are_asked() -> None:
    one = np.full(GRID.array_shape, 255, np.uint8)
    both = Ensemble((*ensemble(GRID, one).members, *ensemble(GRID, one, one, organ="spleen").members))
    assert fuse(both, "liver", CT).count == CT.voxel_count


PARTS = [ball(GRID, (3.0 + 2 * n, -2.0, 1.0), 12.0 + n) for n in range(3)]


def plain(stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values on the network grid, 0 to 255, interpolated at the CT's voxels, as shares of 255."""
    k, j, i = np.meshgrid(*[np.arange(n) for n in CT.array_shape], indexing="ij")
    to_grid = np.linalg.inv(GRID.matrix) @ CT.matrix
    positions = np.einsum("ab,b...->a...", to_grid, np.stack([i, j, k, np.ones_like(i)]))[2::-1]
    return np.asarray(ndimage.map_coordinates(stored, positions, order=1, mode="nearest") / 255)


def assert_above_half(found: Boxed, share: npt.NDArray[np.float64]) -> None:
    is_clear = np.abs(share - 0.5) > 1e-5
    assert 100 < found.count < CT.voxel_count
    np.testing.assert_array_equal(whole(found, CT)[is_clear], (share > 0.5)[is_clear])


def test_weights_count() -> None:
    found = FUSIONS[Fusion.WEIGHTED](ensemble(GRID, *PARTS), "liver", CT, (16, 5, 1))
    assert_above_half(found, plain(np.average(PARTS, axis=0, weights=(16, 5, 1))))
    alike = FUSIONS[Fusion.WEIGHTED](ensemble(GRID, *PARTS), "liver", CT, (1, 1, 1))
    assert (whole(found, CT) != whole(alike, CT)).sum() > 100


def test_the_heaviest_ensemble_fits() -> None:
    certain = np.full(GRID.array_shape, 255, np.uint8)
    found = FUSIONS[Fusion.WEIGHTED](ensemble(GRID, *[certain] * 16), "liver", CT, (HEAVIEST,) * 16)
    assert found.count == CT.voxel_count


def test_majority_asks_each_model_for_its_mask() -> None:
    found = FUSIONS[Fusion.MAJORITY](ensemble(GRID, *PARTS), "liver", CT, (1, 1, 1))
    assert_above_half(found, plain(np.mean([np.where(part > 127, 255.0, 0.0) for part in PARTS], axis=0)))


def test_a_draw_is_no_majority() -> None:
    one, none = np.full(GRID.array_shape, 255, np.uint8), np.zeros(GRID.array_shape, np.uint8)
    assert FUSIONS[Fusion.MAJORITY](ensemble(GRID, one, none), "liver", CT, (1, 1)).count == 0


def test_staple_is_that_of_simpleitk_in_the_box_of_what_is_seen() -> None:
    seen = np.array([part > 127 for part in PARTS], np.uint8)
    box = crop(seen.max(axis=0)).slices
    theirs = sitk.STAPLEImageFilter()
    theirs.SetForegroundValue(1)
    expected = np.zeros(GRID.array_shape)
    images = [sitk.GetImageFromArray(np.ascontiguousarray(mask[box])) for mask in seen]
    expected[box] = sitk.GetArrayFromImage(theirs.Execute(images))
    # A certainty may be stored as 254: it comes out as 1 less a rounding.
    found = FUSIONS[Fusion.STAPLE](ensemble(GRID, *PARTS), "liver", CT, (1, 1, 1))
    assert_above_half(found, plain(np.floor(255 * expected + 1e-9)))


@pytest.mark.parametrize("fusion", list(Fusion))
def test_nothing_is_fused_to_nothing(fusion: Fusion) -> None:
    none = np.zeros(GRID.array_shape, np.uint8)
    assert FUSIONS[fusion](ensemble(GRID, none, none), "liver", CT, (1, 1)).count == 0


@pytest.mark.parametrize(
    ("reliabilities", "expected"),
    [
        ([0.9], (16,)),
        ([0.9, 0.9], (16, 16)),
        # ln(9) = 2.197, ln(4) = 1.386, ln(1.5) = 0.405
        ([0.9, 0.8, 0.6], (16, 10, 3)),
        ([0.9, 0.5, 0.3], (16, 0, 0)),
        ([0.5, 0.3], (1, 1)),
        # Beyond 0.99 nothing is told: ln(99) = 4.595
        ([1.0, 0.99, 0.9], (16, 16, 8)),
        ([0.99, 0.501], (16, 1)),
    ],
)
def test_weights_are_log_odds(reliabilities: list[float], expected: tuple[int, ...]) -> None:
    assert weights(reliabilities) == expected
