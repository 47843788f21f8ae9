"""The calibrated profile equals the plain rendering of its formulas, and holds what it promises."""

from collections.abc import Sequence

import numpy as np
import pytest

from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty import calibrated, calibration
from services.uncertainty.attention import (
    MAX_REGIONS,
    Cause,
    OrganAttention,
    Region,
    attention_size,
    listed,
    ranked,
)
from services.uncertainty.calibrated import CALIBRATED
from services.uncertainty.tissue import Hounsfield
from tests.uncertainty import plain_calibrated as plain
from tests.uncertainty.compared import equal_to_plain
from tests.uncertainty.ensembles import Model, blobs, ensemble
from tests.uncertainty.priors.bodies import GRID, arrays, body, box

ORGANS = ("aorta", "kidney_left", "liver", "postcava", "spleen")
# Small volumes: regions of a few voxels and of little probability are shown too.
SHIPPED = calibration.load()
CONSTANTS = SHIPPED.model_copy(
    update={
        "least_mm3": 20.0,
        "least_probability": 0.02,
        "grow_mm": 1.5,
        "tissue": SHIPPED.tissue.model_copy(update={"least_mm3": 20.0, "least_core_mm3": 50.0}),
    }
)


def with_spacing(models: Sequence[Model], spacing: plain.Spacing) -> Ensemble:
    """An ensemble on a grid with this spacing along k, j and i."""
    depth, height, width = next(iter(models[0].values())).shape
    grid = Geometry.from_matrix((width, height, depth), np.diag([*spacing[::-1], 1.0]))
    return Ensemble(
        tuple(arrayfile.decode(arrayfile.encode(list(model), list(model.values()), grid)) for model in models)
    )


def assert_equal_to_plain(
    models: Sequence[Model], spacing: plain.Spacing = (1.5, 1.5, 1.5), ct: Hounsfield | None = None
) -> list[Region]:
    return equal_to_plain(with_spacing(models, spacing), models, CONSTANTS, ct)


@pytest.mark.parametrize("models", [1, 2, 3, 4])
def test_random_ensembles(models: int) -> None:
    regions = assert_equal_to_plain(blobs(models, ORGANS, models=models, noise=0.5))
    assert {Cause.ADD, Cause.REMOVE, Cause.OVERLAP} <= {region.cause for region in regions}
    assert any(region.findings for region in regions if region.cause is not Cause.PRIOR)


@pytest.mark.parametrize("spacing", [(3.0, 1.5, 1.5), (5.0, 0.7, 0.8)])
def test_thick_slices(spacing: plain.Spacing) -> None:
    assert assert_equal_to_plain(blobs(5, ORGANS, models=3, noise=0.5), spacing)


@pytest.mark.parametrize("shape", [(33, 9, 70), (2, 30, 66), (1, 50, 50)])
def test_thin_volumes(shape: tuple[int, int, int]) -> None:
    assert_equal_to_plain(blobs(3, ORGANS, models=3, shape=shape))


def scanned(models: Sequence[Model]) -> Hounsfield:
    """A noisy CT in which every organ has HU of its own, and lies two voxels off its first model's mask."""
    rng = np.random.default_rng(3)
    ct = rng.normal(-80, 25, next(iter(models[0].values())).shape)
    for number, organ in enumerate(ORGANS):
        ct[np.roll(models[0].get(organ, np.zeros(ct.shape, np.uint8)), 2, axis=1) > 127] += 60 * (number + 1)
    return ct.astype(np.int16)


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (3.0, 1.5, 1.5)])
def test_with_a_ct(spacing: plain.Spacing) -> None:
    models = blobs(1, ORGANS, models=3, noise=0.5)
    regions = assert_equal_to_plain(models, spacing, scanned(models))
    assert {Cause.LIKE, Cause.UNLIKE} <= {region.cause for region in regions}


def test_models_that_lack_an_organ() -> None:
    first, second, third = blobs(6, ORGANS, models=3, noise=0.5)
    del first["liver"], second["spleen"], third["spleen"]
    assert assert_equal_to_plain([first, second, third])


@pytest.mark.parametrize("seed", [1, 2])
def test_organs_of_several_pieces(seed: int) -> None:
    assert assert_equal_to_plain(blobs(seed, ("colon", "duodenum", "liver", "lung_left"), models=3, noise=0.5))


def attend(models: Sequence[Model], organs: Sequence[str] = ORGANS) -> list[OrganAttention]:
    return list(calibrated.attend(ensemble(models), organs, constants=CONSTANTS))


def test_a_dissenting_model_makes_a_region_where_it_dissents() -> None:
    """The larger the part that one of three models leaves out, the more mm^3 are expected to be wrong."""
    block = np.zeros((24, 24, 24), np.uint8)
    block[2:22, 2:22, 2:22] = 255
    expected = []
    for width in (0, 4, 8, 12):
        other = block.copy()
        other[2 : 2 + width, 2:22, 2:22] = 0
        (found,) = attend([{"liver": block}, {"liver": block}, {"liver": other}], ["liver"])
        # Rules take offence at a block for a liver; what they say of it stays the same.
        doubted = [region for region in found.regions if region.cause is not Cause.PRIOR]
        expected.append(sum(region.expected_mm3 for region in doubted))
        for region in doubted:
            assert (region.cause, region.corner, region.size) == (Cause.REMOVE, (2, 2, 2), (width, 20, 20))
            assert region.volume_mm3 == width * 400 * 1.5**3
            assert region.disagreement == 1.0  # every model is sure of itself
    assert expected == sorted(expected)
    assert (expected[0], expected[-1] > 0) == (0, True)


@pytest.mark.parametrize(("organ", "top", "is_told"), [("liver", 9, False), ("liver", 16, True), ("aorta", 9, True)])
def test_what_lies_below_both_kidneys_is_none_of_the_upper_abdomens(organ: str, top: int, is_told: bool) -> None:
    """Kidneys begin at slice 24, 22.5 mm above a part that ends with slice 9: all models take it for the organ."""
    masks = {name: np.zeros((48, 32, 40), np.uint8) for name in ("kidney_left", "kidney_right", organ)}
    masks["kidney_left"][24:34, 4:10, 4:10] = masks["kidney_right"][26:36, 4:10, 30:36] = 255
    masks[organ][30:46, 14:30, 8:32] = 255
    masks[organ][top - 8 : top + 1, 14:26, 10:26] = 255
    found = [region for region in assert_equal_to_plain([masks] * 3) if region.organ == organ]
    assert any(region.cause is Cause.ADD and region.corner[0] == top - 8 for region in found) is is_told


def test_nothing_predicted_and_certain_agreement_ask_for_nothing() -> None:
    k, j, i = np.ogrid[:24, :24, :24]
    ball = (((k - 12) ** 2 + (j - 12) ** 2 + (i - 12) ** 2 < 64) * 255).astype(np.uint8)
    for model in ({"liver": np.zeros_like(ball)}, {"liver": ball}):
        (found,) = attend([model] * 3, ["liver"])
        assert (found.regions, found.score.voxels, found.score.expected_error_mm3) == ((), 0, 0)
        scores = [found.score]
        assert (CALIBRATED.priority(scores), ranked(scores, CALIBRATED.urgency), attention_size(scores, 24)) == (
            0,
            [],
            0,
        )


@pytest.mark.parametrize(
    ("organ", "is_missed"), [("colon", False), ("duodenum", False), ("pancreas", True), ("liver", True)]
)
def test_a_piece_that_merging_keeps_is_not_missing_from_the_label(organ: str, is_missed: bool) -> None:
    """Two certain tubes of 4.3 and 2.7 ml: collapsed bowel comes in pieces, a pancreas does not."""
    tubes = np.zeros((30, 30, 40), np.uint8)
    tubes[5:15, 5:13, 4:20] = tubes[5:15, 20:28, 24:34] = 255
    (found,) = attend([{organ: tubes}] * 3, [organ])
    assert any(region.cause is Cause.ADD for region in found.regions) is is_missed


def test_a_missing_organ_whose_place_is_taken_asks_for_nothing() -> None:
    """A finding that points at no voxel makes no region, which would lie nowhere."""
    shapes = body(pancreas=(), duodenum=box(-12, 6, 204, 66, 30, 33))
    model = {organ: 255 * mask for organ, mask in arrays(shapes).items()}
    (pancreas,) = CALIBRATED.attend(ensemble([model], GRID), ["pancreas"])
    assert (pancreas.regions, pancreas.heat.count, pancreas.score.expected_error_mm3) == ((), 0, 0.0)


def test_heat_means_the_same_in_every_case() -> None:
    """The heat of a region is its probability, whatever else is in the volume."""
    for found in attend(blobs(9, ORGANS, models=3, noise=0.5)):
        most = max((region.probability for region in found.regions), default=0)
        assert found.score.heat_max == int(255 * most)


def test_the_most_urgent_regions_are_listed() -> None:
    def region(number: int) -> Region:
        return Region("liver", Cause.ADD, (0, 0, 0), (1, 1, 1), (0, 0, 0), float(number), 0.5)

    some = listed(region(number) for number in range(MAX_REGIONS + 9))
    assert [one.volume_mm3 for one in some] == list(range(MAX_REGIONS + 8, 8, -1))
