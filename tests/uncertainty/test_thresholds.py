"""The integer tests say what float64 NumPy says, for every number of models, ties included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import entr

from services.core.ensemble import MAX_MODELS
from services.uncertainty import bitplanes, signs, thresholds
from services.uncertainty.trimmed import Trimmed
from tests.uncertainty import plain
from tests.uncertainty.ensembles import ensemble

INCONSISTENT, UNCERTAIN = 1, 2


def stack(*models: list[int]) -> plain.Array:
    """A stack (model, voxel, 1, 1)."""
    return np.array(models, np.uint8).reshape(len(models), -1, 1, 1)


def found_in(probabilities: plain.Array) -> tuple[plain.Array, plain.Array]:
    """What a scan says: flags (INCONSISTENT and UNCERTAIN) and majority, each (k, j, i)."""
    models, shape = ensemble([{"liver": model} for model in probabilities]), probabilities.shape[1:]
    possible = signs.possible(models.highest("liver"))
    everything = Trimmed.around(np.ones_like(possible), shape, masks=3)
    for blocks in models.blocks("liver", possible):
        signs.scan(blocks, shape[2], everything)
    k, j, i = (slice(0, n) for n in shape)
    majority, inconsistent, uncertain = (bitplanes.unpack(plane, (k, j, i)) for plane in everything.words)
    return inconsistent * INCONSISTENT | uncertain * UNCERTAIN, majority


def expected_flags(probabilities: plain.Array) -> plain.Array:
    return (plain.deviation(probabilities) > 0.10) * 1 + (plain.entropy(probabilities) > 0.05) * 2


def assert_equal_to_numpy(probabilities: plain.Array) -> None:
    """Of a stack (model, voxel, 1, 1), laid out in slices of two sizes; made up with zeros, which are compared too."""
    voxels = probabilities.reshape(len(probabilities), -1)
    for height, width in ((7, 70), (40, 3)):
        full = np.pad(voxels, ((0, 0), (0, -voxels.shape[1] % (height * width))))
        shaped = full.reshape(len(full), -1, height, width)
        flags, majority = found_in(shaped)
        np.testing.assert_array_equal(flags, expected_flags(shaped))
        np.testing.assert_array_equal(majority, np.mean(shaped / 255, axis=0) > 0.5)


def test_three_models_give_the_known_constants() -> None:
    assert thresholds.inconsistency(3) == thresholds.Threshold(5853, -1)
    assert thresholds.uncertainty(3) == thresholds.Threshold(39, -1)
    assert thresholds.majority(3) == thresholds.Threshold(383, -1)


def test_only_even_numbers_of_models_have_ties() -> None:
    for models in range(1, MAX_MODELS + 1):
        assert (thresholds.inconsistency(models).tie >= 0) == (models % 2 == 0)
        assert (thresholds.majority(models).tie >= 0) == (models % 2 == 0)
        assert (thresholds.uncertainty(models).tie >= 0) == (models % 4 == 0)


def test_stored_entropies_equal_scipy_and_stand_clear_of_rounding() -> None:
    exact = 255 * entr(np.arange(256) / 255)
    np.testing.assert_array_equal(np.floor(exact), signs.ENTROPIES)
    fraction = exact[1:255] % 1
    assert min(fraction.min(), (1 - fraction).min()) > 1e-6
    assert signs.ENTROPIES.max() == 93


def test_one_model_is_never_inconsistent_and_unsure_from_3_to_241() -> None:
    flags = found_in(stack(list(range(256))))[0].ravel()
    assert np.flatnonzero(flags & INCONSISTENT).size == 0
    assert np.flatnonzero(flags & UNCERTAIN).tolist() == list(range(3, 242))
    assert_equal_to_numpy(stack(list(range(256))))


def test_every_pair_of_two_models() -> None:
    first, second = np.meshgrid(np.arange(256), np.arange(256))
    pairs = stack(first.ravel().tolist(), second.ravel().tolist())
    assert_equal_to_numpy(pairs)
    ties = np.abs(first - second) == 51
    decided = np.bincount(found_in(pairs.reshape(2, 1, 256, 256))[0].ravel()[ties.ravel()] & INCONSISTENT, minlength=2)
    assert (decided > 0).all()  # float64 rounding goes either way


def test_golden_deviations() -> None:
    """std(0, 0, .22) = .1037 is flagged, std(0, .2, .2) = .0943 is not."""
    flags = found_in(stack([0, 0], [0, 51], [56, 51]))[0].ravel()
    assert (flags & INCONSISTENT).tolist() == [1, 0]


@pytest.mark.parametrize("models", range(1, MAX_MODELS + 1))
def test_random_probabilities(models: int) -> None:
    rng = np.random.default_rng(models)
    uniform = rng.integers(0, 256, (models, 40_000, 1, 1))
    near = np.clip(uniform[:1] // 2 + rng.integers(0, 60, uniform.shape), 0, 255)
    low = rng.integers(0, 12, uniform.shape)
    for probabilities in (uniform, near, low):
        assert_equal_to_numpy(probabilities.astype(np.uint8))


@pytest.mark.parametrize("models", [4, 6, 8])
def test_ties_follow_float64(models: int) -> None:
    """Half of the models at a, half at a + 51: exactly 0.10; entropies that add up to 0.05; means of 0.5."""
    rng, half = np.random.default_rng(0), models // 2
    columns = [[a] * half + [a + 51] * half for a in range(205)]
    columns += [rng.permutation(column).tolist() for column in columns for _ in range(20)]
    candidates = rng.integers(0, 256, (400_000, models))
    entropies = signs.ENTROPIES[candidates].sum(axis=1, dtype=int)
    columns += candidates[entropies == thresholds.uncertainty(models).tie][:500].tolist()
    columns += candidates[candidates.sum(axis=1) == thresholds.majority(models).tie][:500].tolist()
    assert_equal_to_numpy(stack(*np.transpose(columns).tolist()))


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 30), st.just(1), st.just(1))))
def test_any_probabilities(probabilities: plain.Array) -> None:
    assert_equal_to_numpy(probabilities)


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.sampled_from([1, 3, 5]), st.just(40), st.just(1), st.just(1))), st.randoms())
def test_order_of_an_odd_number_of_models_changes_nothing(probabilities: plain.Array, random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(probabilities)))
    random.shuffle(order)
    np.testing.assert_array_equal(found_in(probabilities)[0], found_in(probabilities[order])[0])
