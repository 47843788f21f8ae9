"""Precedence, policies and the label map on nine masks of a real case, of which 1831 voxels lie in more than one."""

from pathlib import Path
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import pytest

from services.core import classmaps
from services.core.boxes import Boxed, crop
from services.core.components import largest_component
from services.core.nifti import read_header
from services.merging.combined import paint_ranked, ranks
from services.merging.layers import Layer, Packed, minus
from services.merging.overwriting import OVERWRITERS
from services.merging.policy import Overwrite, Policy
from services.merging.postprocess import process
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
        paint_ranked(combined, masks[organ], MAP.id_of(organ), ranks(choices, MAP))
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


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_a_source_among_real_neighbours(masks: dict[str, Boxed], real_data: Path, overwrite: Overwrite) -> None:
    """A liver of the source that lies 4 voxels beside the AI's: it stays as it is, and what it frees finds an owner."""
    grid = read_header((real_data / "abdomenatlas_masks9/liver.nii.gz").open("rb")).geometry
    k, j, i = masks["liver"].corner
    source = Packed.of(Boxed((k, j, i + 4), masks["liver"].voxels))
    layers = {organ: Layer(Origin.AI, Packed.of(mask)) for organ, mask in masks.items()}
    layers["liver"] = Layer(Origin.SOURCE, source, layers["liver"].mask)
    done = OVERWRITERS[overwrite](layers, grid)
    assert done["liver"] is layers["liver"]
    shared = {o: common_voxels(done["liver"].mask.mask, done[o].mask.mask) for o in masks if o != "liver"}
    gained = sum(change.added.voxels for layer in done.values() for change in layer.changes)
    assert any(shared.values()) == (overwrite == Overwrite.KEEP)
    assert (gained > 0) == (overwrite == Overwrite.REASSIGN)
    freed = minus(layers["liver"].predicted.mask, source.mask).count
    assert gained < freed


def common_voxels(first: Boxed, second: Boxed) -> int:
    return first.count - minus(first, second).count


def test_post_processing_leaves_a_case_of_an_atlas_nearly_as_it_is(masks: dict[str, Boxed], real_data: Path) -> None:
    grid = read_header((real_data / "abdomenatlas_masks9/liver.nii.gz").open("rb")).geometry
    layers = {organ: Layer(Origin.AI, Packed.of(mask)) for organ, mask in masks.items()}
    for organ, layer in process(layers, Policy(), grid).items():
        changed = sum(change.added.voxels + change.removed_voxels for change in layer.changes)
        assert changed < 0.05 * layers[organ].mask.voxels, organ
