"""What follows from attention for a case: priority, order of organs, attention size."""

import numpy as np
import pytest

from services.uncertainty.attention import OrganScore, attention_size, flagged_voxels, ranked
from services.uncertainty.parity import PARITY
from tests.uncertainty.ensembles import blobs, ensemble


def score(organ: str, voxels: int, heat_sum: int, heat_max: int = 255) -> OrganScore:
    return OrganScore(organ, voxels, heat_sum, heat_max, 0, voxels, 0)


LIVER, SPLEEN, EMPTY = score("liver", 100, 9000), score("spleen", 300, 8000), score("aorta", 0, 0, 0)


def test_cases_are_ordered_by_voxels_and_organs_by_heat() -> None:
    assert flagged_voxels([LIVER, SPLEEN, EMPTY]) == 400
    assert [o.organ for o in ranked([SPLEEN, EMPTY, LIVER], PARITY.urgency)] == ["liver", "spleen"]


def test_equal_organs_stay_in_the_order_of_the_class_map() -> None:
    first, second = score("kidney_left", 5, 70), score("kidney_right", 9, 70)
    assert ranked([first, second], PARITY.urgency) == [first, second]


def test_attention_size_by_hand() -> None:
    assert attention_size([LIVER, SPLEEN], 10) == pytest.approx((9000 / 255 + 8000 / 255) / 10)


def test_a_case_without_attention_has_stated_results() -> None:
    """No organs, priority 0, size 0; the original divided by the empty map's maximum and got NaN."""
    assert ranked([EMPTY], PARITY.urgency) == []
    assert flagged_voxels([EMPTY]) == 0
    assert attention_size([EMPTY], 10) == 0
    assert attention_size([], 10) == 0


def test_the_hottest_voxel_is_stored_as_255() -> None:
    models = ensemble(blobs(1, ["liver", "spleen"], models=3))
    scores = [a.score for a in PARITY.attend(models, ["liver", "spleen"], None)]
    assert [s.heat_max for s in scores] == [255, 255]
    assert all(0 < s.heat_sum <= 255 * s.voxels for s in scores)


def test_more_disagreement_never_lowers_the_priority() -> None:
    """Flagged voxels only join when a model's opinion of a block moves from the others' to the opposite."""
    block = np.zeros((14, 14, 14), np.uint8)
    block[2:12, 2:12, 2:12] = 255
    priorities = []
    for width in range(0, 11):
        other = block.copy()
        other[2 : 2 + width, 2:12, 2:12] = 0
        models = ensemble([{"liver": block}, {"liver": block}, {"liver": other}])
        priorities.append(flagged_voxels([a.score for a in PARITY.attend(models, ["liver"], None)]))
    assert priorities == sorted(priorities)
    assert priorities[-1] == 1000
