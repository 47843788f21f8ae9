"""Both profiles on the nine masks of a real case, made into three models that err differently."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from services.core import classmaps
from services.uncertainty import calibration
from services.uncertainty.parity import PARITY
from tests.uncertainty import plain
from tests.uncertainty.compared import equal_to_plain
from tests.uncertainty.ensembles import Array, ensemble, whole

ORGANS = classmaps.load().organs


@pytest.fixture(scope="module")
def models(real_data: Path) -> list[dict[str, Array]]:
    """Soft borders of different width, shifts by a voxel, and smooth noise; every second voxel in the plane."""
    rng = np.random.default_rng(0)
    made: list[dict[str, Array]] = [{}, {}, {}]
    for organ in ORGANS:
        path = next((real_data / "abdomenatlas_masks9").rglob(f"{organ}.nii.gz"))
        mask = np.asarray(nib.load(path).dataobj).T[:, ::2, ::2] != 0  # type: ignore[attr-defined]
        for number, model in enumerate(made):
            soft = ndimage.gaussian_filter(np.roll(mask, number - 1, axis=number).astype(np.float32), 0.7 + number / 2)
            noise = ndimage.gaussian_filter(rng.normal(size=mask.shape).astype(np.float32), 4)
            model[organ] = np.floor(255 * np.clip(soft + 3 * noise * (soft > 0.01), 0, 1)).astype(np.uint8)
    return made


def test_equals_the_plain_rendering(models: list[dict[str, Array]]) -> None:
    total, masks = 0, plain.ensemble_masks(models)
    for found in PARITY.attend(ensemble(models), ORGANS, None):
        expected = plain.attend(models, found.score.organ, masks)
        np.testing.assert_array_equal(whole(found, expected.heat.shape), expected.heat)
        assert found.score.overlap_voxels == np.count_nonzero(expected.overlap)
        assert found.score.voxels == np.count_nonzero(expected.attention)
        total += found.score.voxels
    assert total > 10_000


def test_calibrated_equals_its_plain_rendering(models: list[dict[str, Array]]) -> None:
    assert equal_to_plain(ensemble(models), models, calibration.load())
