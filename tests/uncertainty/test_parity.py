"""The parity profile equals the plain rendering of its formulas: binary maps and heat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.uncertainty.attention import OrganAttention
from services.uncertainty.parity import OVERLAPPED_BY, PARITY
from tests.uncertainty import plain
from tests.uncertainty.ensembles import Array, blobs, ensemble, whole

ORGANS = ("aorta", "kidney_left", "liver", "postcava", "spleen")


def attend(models: list[dict[str, Array]], organs: tuple[str, ...] | None = None) -> list[OrganAttention]:
    together = ensemble(models)
    return list(PARITY.attend(together, organs or tuple(sorted(together.organs)), None))


def assert_equal_to_plain(models: list[dict[str, Array]], organs: tuple[str, ...] | None = None) -> None:
    masks = plain.ensemble_masks(models)
    for found in attend(models, organs):
        expected = plain.attend(models, found.score.organ, masks)
        heat = whole(found, expected.heat.shape)
        np.testing.assert_array_equal(heat > 0, expected.attention)
        np.testing.assert_array_equal(heat, expected.heat)
        assert found.score.voxels == np.count_nonzero(expected.attention)
        assert found.score.inconsistency_voxels == np.count_nonzero(expected.inconsistency)
        assert found.score.uncertainty_voxels == np.count_nonzero(expected.uncertainty)
        assert found.score.overlap_voxels == np.count_nonzero(expected.overlap)
        assert found.score.heat_sum == expected.heat.sum()


@pytest.mark.parametrize("models", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_ensembles(models: int, seed: int) -> None:
    cases = blobs(seed, ORGANS, models=models)
    assert any(organ.score.overlap_voxels for organ in attend(cases))
    assert_equal_to_plain(cases)


@pytest.mark.parametrize("shape", [(33, 7, 70), (64, 5, 5), (5, 40, 6), (4, 30, 30), (1, 50, 50), (35, 20, 140)])
def test_thin_volumes(shape: tuple[int, int, int]) -> None:
    assert_equal_to_plain(blobs(3, ORGANS, models=3, shape=shape))


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2), st.integers(5, 9), st.integers(5, 9), st.integers(5, 9)),
           elements=st.sampled_from([0, 0, 1, 51, 102, 127, 128, 204, 255])),
    st.integers(1, 6),
)  # fmt: skip
def test_any_two_organs(probabilities: Array, repeat: int) -> None:
    coarse = np.repeat(np.repeat(np.repeat(probabilities, repeat, 2), repeat, 3), repeat, 4)
    assert_equal_to_plain([{"liver": model[0], "aorta": model[1]} for model in coarse])


def test_an_organ_is_judged_by_the_models_that_have_it() -> None:
    first, second, third = blobs(5, ORGANS, models=3)
    del first["liver"], second["spleen"], third["spleen"]
    assert_equal_to_plain([first, second, third])


def test_organs_that_are_not_scored_take_part_in_overlap() -> None:
    """What the source labelled is not scored, but its AI mask still tells where another organ trespasses."""
    models = blobs(0, ORGANS, models=3)
    alone, together = attend(models, ("spleen",)), attend(models)
    assert alone[0].score.overlap_voxels > 0
    assert alone[0].score.overlap_voxels == {o.score.organ: o.score.overlap_voxels for o in together}["spleen"]
    assert_equal_to_plain(models, ("spleen",))


def test_vessels_receive_overlap_and_never_cause_it() -> None:
    block = np.zeros((12, 12, 12), np.uint8)
    block[2:10, 2:10, 2:10] = 255
    vessels = attend([{"aorta": block, "postcava": block}])
    assert [organ.score.voxels for organ in vessels] == [0, 0]
    mixed = {organ.score.organ: organ.score.overlap_voxels for organ in attend([{"aorta": block, "liver": block}])}
    assert mixed == {"aorta": 512, "liver": 0}


def test_twenty_organs_may_be_overlapped_with() -> None:
    assert set(plain.OTHERS) == OVERLAPPED_BY
    assert len(OVERLAPPED_BY) == 20


def test_overlap_is_not_opened_and_strays_outside_the_largest_component_do_not_count() -> None:
    liver, spleen = np.zeros((2, 16, 16, 16), np.uint8)
    liver[1:9, 1:9, 1:9] = spleen[8:15, 8:15, 8:15] = 255  # one common voxel
    liver[14, 14, 14] = 255  # a stray inside the spleen
    found = attend([{"liver": liver, "spleen": spleen}])
    assert [(organ.score.voxels, organ.score.heat_sum) for organ in found] == [(1, 255), (1, 255)]


def test_nothing_predicted_gives_empty_maps() -> None:
    for found in attend([{"liver": np.zeros((9, 9, 9), np.uint8)}] * 3):
        assert (found.score.voxels, found.score.heat_sum, found.heat.voxels.size) == (0, 0, 0)


def test_certain_and_agreeing_models_ask_for_nothing() -> None:
    block = np.zeros((12, 12, 12), np.uint8)
    block[2:10, 2:10, 2:10] = 255
    assert [organ.score.voxels for organ in attend([{"liver": block}] * 3)] == [0]


def test_order_of_three_models_changes_no_map() -> None:
    first, second, third = blobs(2, ORGANS, models=3)
    for a, b in zip(attend([first, second, third]), attend([third, first, second]), strict=True):
        assert (a.score.organ, a.score.voxels, a.score.overlap_voxels) == (
            b.score.organ,
            b.score.voxels,
            b.score.overlap_voxels,
        )
        np.testing.assert_array_equal(a.heat.voxels > 0, b.heat.voxels > 0)


def test_a_subset_of_organs_scores_as_within_all() -> None:
    models = blobs(4, ORGANS, models=3)
    everything = {organ.score.organ: organ for organ in attend(models)}
    for organ in attend(models, ("liver", "aorta")):
        assert organ.score.heat_sum == everything[organ.score.organ].score.heat_sum
