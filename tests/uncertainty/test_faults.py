"""Faults of the original's released code that this one must not have."""

import numpy as np
import pytest

from services.core.errors import AtlasError, Reason
from services.uncertainty.parity import PARITY
from tests.uncertainty.ensembles import blobs, ensemble


def test_an_empty_map_is_zero_and_not_nan() -> None:
    with np.errstate(all="raise"):
        (empty,) = PARITY.attend(ensemble([{"liver": np.zeros((8, 8, 8), np.uint8)}] * 3), ["liver"], None)
    assert (empty.score.voxels, empty.score.heat_sum, empty.score.heat_max) == (0, 0, 0)


def test_three_models_are_three() -> None:
    """One model passed three times agrees with itself: its disagreement is 0, that of three models is not."""
    three = blobs(0, ["liver"], models=3)
    (alone,) = PARITY.attend(ensemble([three[0]] * 3), ["liver"], None)
    (together,) = PARITY.attend(ensemble(three), ["liver"], None)
    assert alone.score.inconsistency_voxels == 0
    assert together.score.inconsistency_voxels > 0


def test_predictions_of_other_grids_are_refused() -> None:
    (small,) = blobs(0, ["liver"], models=1)
    (large,) = blobs(0, ["liver"], models=1, shape=(41, 36, 44))
    with pytest.raises(AtlasError, match=r"44x36x40 .*44x36x41 ") as caught:
        ensemble([small, large])
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH


def test_probabilities_of_another_type_are_refused() -> None:
    with pytest.raises(AtlasError) as caught:
        ensemble([{"liver": np.zeros((8, 8, 8), np.int16)}])
    assert caught.value.reason == Reason.DTYPE_UNSUPPORTED
