"""The ensemble's mask: mean above one half on the CT's own grid, largest component."""

import numpy as np
import pytest
from scipy import ndimage

from services.core import arrayfile
from services.core.boxes import Boxed, Mask
from services.core.components import largest_component
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry, network_grid
from services.merging.fusion import mean


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
