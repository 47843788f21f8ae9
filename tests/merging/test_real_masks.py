"""Precedence and the label map on the nine masks of a real case, of which 1831 voxels lie in more than one."""

from pathlib import Path
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import pytest

from services.core import classmaps
from services.core.boxes import Boxed, crop
from services.core.components import largest_component
from services.merging.combined import paint, ranks
from services.merging.precedence import Choice, Origin

nibabel: Any = untyped_nibabel
MAP = classmaps.load()


@pytest.fixture(scope="module")
def masks(real_data: Path) -> dict[str, Boxed]:
    folder = real_data / "abdomenatlas_masks9"
    return {
        organ: crop(np.ascontiguousarray(np.asarray(nibabel.load(folder / f"{organ}.nii.gz").dataobj).T, np.uint8))
        for organ in MAP.organs
    }


def label_map(masks: dict[str, Boxed], truth: frozenset[str], order: tuple[str, ...]) -> np.ndarray[Any, Any]:
    choices = [Choice(organ, Origin.SOURCE if organ in truth else Origin.AI) for organ in masks]
    combined = np.zeros((71, 348, 502), np.uint8)
    for organ in order:
        paint(combined, masks[organ], MAP.id_of(organ), ranks(choices, MAP))
    return combined


@pytest.mark.parametrize("truth", [frozenset[str](), frozenset({"liver"}), frozenset({"stomach", "postcava"})])
def test_truth_loses_no_voxel_to_ai(masks: dict[str, Boxed], truth: frozenset[str]) -> None:
    combined = label_map(masks, truth, MAP.organs)
    np.testing.assert_array_equal(combined, label_map(masks, truth, MAP.organs[::-1]))
    claims = np.zeros(combined.shape, np.uint8)
    for organ, mask in masks.items():
        claims[mask.slices] += mask.voxels
        if len(truth) == 1 and organ in truth:
            assert (combined == MAP.id_of(organ)).sum() == mask.count
    assert (claims > 1).sum() == 1831
    np.testing.assert_array_equal(combined != 0, claims != 0)
    for organ, mask in masks.items():
        alone = (claims[mask.slices] == 1) & (mask.voxels != 0)
        assert (combined[mask.slices][alone] == MAP.id_of(organ)).all()


def test_real_organs_are_nearly_one_component(masks: dict[str, Boxed]) -> None:
    for mask in masks.values():
        assert 0.95 * mask.count < largest_component(np.ascontiguousarray(mask.voxels)).count <= mask.count
