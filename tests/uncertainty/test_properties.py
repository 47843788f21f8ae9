"""What holds for attention of any ensemble, under either profile, with a CT and without."""

import itertools
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.geometry import Geometry
from services.core.resample import to_grid
from services.uncertainty import calibrated, calibration
from services.uncertainty.attention import OrganAttention
from services.uncertainty.parity import PARITY
from services.uncertainty.tissue import Hounsfield
from tests.uncertainty.ensembles import Array, Model, blobs, ensemble, grid, whole

ORGANS = ("aorta", "kidney_left", "liver", "spleen")
SHAPE = (24, 22, 28)
# Volumes are small: regions of a few voxels and of little probability are shown too.
SHIPPED = calibration.load()
CONSTANTS = SHIPPED.model_copy(
    update={
        "least_mm3": 20.0,
        "least_probability": 0.02,
        "tissue": SHIPPED.tissue.model_copy(update={"least_mm3": 20.0, "least_core_mm3": 50.0}),
    }
)

ensembles = st.builds(
    lambda seed, models: blobs(seed, ORGANS, models=models, shape=SHAPE, noise=0.5),
    st.integers(0, 2**16),
    st.integers(1, 4),
)
profiles = st.sampled_from(["parity", "calibrated", "calibrated with a CT"])
turns = st.tuples(st.permutations(range(3)), st.sets(st.integers(0, 2)))
few = settings(max_examples=15, deadline=None)


def scan(models: Sequence[Model]) -> Hounsfield:
    """A noisy CT in which every organ has HU of its own, a voxel off its first model's mask."""
    ct = np.random.default_rng(3).normal(-80, 25, SHAPE)
    for number, organ in enumerate(ORGANS):
        ct[np.roll(models[0][organ], 1, axis=1) > 127] += 60 * (number + 1)
    return ct.astype(np.int16)


def attend(
    profile: str,
    models: Sequence[Model],
    organs: Sequence[str] = ORGANS,
    geometry: Geometry | None = None,
    ct: Hounsfield | None = None,
) -> list[OrganAttention]:
    together = ensemble(models, geometry)
    if profile == "parity":
        return list(PARITY.attend(together, organs, None))
    return list(calibrated.attend(together, organs, None, ct if "CT" in profile else None, CONSTANTS))


@few
@given(ensembles, st.sampled_from(["calibrated", "calibrated with a CT"]))
def test_permuting_the_models_changes_nothing(models: list[dict[str, Array]], profile: str) -> None:
    ct = scan(models)
    first = attend(profile, models, ct=ct)
    for order in itertools.islice(itertools.permutations(models), 1, 4):
        for one, other in zip(first, attend(profile, order, ct=ct), strict=True):
            assert (one.score, one.regions) == (other.score, other.regions)
            np.testing.assert_array_equal(one.heat.voxels, other.heat.voxels)


@few
@given(st.integers(0, 2**16), st.sampled_from([1, 3]))
def test_permuting_the_models_changes_no_map_of_parity(seed: int, count: int) -> None:
    """Its heat adds floats in the order of the models, as the original does; with two or four that decides ties."""
    models = blobs(seed, ORGANS, models=count, shape=SHAPE, noise=0.5)
    first = attend("parity", models)
    for order in itertools.permutations(models):
        for one, other in zip(first, attend("parity", order), strict=True):
            np.testing.assert_array_equal(whole(one, SHAPE) > 0, whole(other, SHAPE) > 0)
            assert one.score.voxels == other.score.voxels


@few
@given(ensembles, profiles, turns)
def test_a_volume_that_is_stored_otherwise_has_the_same_attention(
    models: list[dict[str, Array]], profile: str, turn: tuple[list[int], set[int]]
) -> None:
    """Axes flipped and in another order, the affine following: the map goes along, the priority stays."""
    axes, flipped = turn
    ct, straight = scan(models), grid(SHAPE)

    def turned(array: Array) -> Array:
        return np.ascontiguousarray(np.flip(array.transpose(axes), tuple(flipped)))

    matrix = straight.matrix[:, [*(2 - axes[2 - column] for column in range(3)), 3]]
    shape = [SHAPE[axis] for axis in axes]
    for axis in flipped:
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (shape[axis] - 1)
        matrix[:3, column] *= -1
    other_grid = Geometry.from_matrix((shape[2], shape[1], shape[0]), matrix)
    np.testing.assert_array_equal(to_grid(turned(ct), other_grid, straight), ct)
    others = [{organ: turned(array) for organ, array in model.items()} for model in models]
    first = attend(profile, models, ct=ct)
    second = attend(profile, others, geometry=other_grid, ct=turned(ct))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(whole(other, tuple(shape)), turned(whole(one, SHAPE)))
        assert np.isclose(one.score.expected_error_mm3, other.score.expected_error_mm3, rtol=1e-9)
        assert (one.score.voxels, len(one.regions)) == (other.score.voxels, len(other.regions))


@few
@given(ensembles, profiles, st.sets(st.sampled_from(ORGANS), min_size=1))
def test_a_subset_of_organs_scores_as_within_all(
    models: list[dict[str, Array]], profile: str, subset: set[str]
) -> None:
    ct = scan(models)
    everything = {found.score.organ: found for found in attend(profile, models, ct=ct)}
    for found in attend(profile, models, sorted(subset), ct=ct):
        same = everything[found.score.organ]
        assert (found.score, found.regions) == (same.score, same.regions)
        np.testing.assert_array_equal(found.heat.voxels, same.heat.voxels)


@few
@given(ensembles, profiles)
def test_sums_keep_within_what_they_sum_up(models: list[dict[str, Array]], profile: str) -> None:
    """No voxel counts twice: less is expected to be wrong than is marked, and than in all regions together."""
    for found in attend(profile, models, ct=scan(models)):
        marked_mm3 = found.score.voxels * grid(SHAPE).voxel_volume_mm3
        each = sum(region.expected_mm3 for region in found.regions)
        largest = max((region.expected_mm3 for region in found.regions), default=0.0)
        assert largest - 1e-6 <= found.score.expected_error_mm3 <= min(each, marked_mm3) + 1e-6
        assert found.score.heat_sum <= 255 * found.score.voxels


@few
@given(st.integers(1, 4), profiles, st.sampled_from([(1, 30, 30), (20, 1, 20), (20, 20, 1), (1, 1, 1), (2, 2, 2)]))
def test_thin_volumes_have_attention_or_none(models: int, profile: str, shape: tuple[int, int, int]) -> None:
    """One slice, one row, one voxel; half of it sure, half of it not, and all of it 0: a result, never an error."""
    ct = np.full(shape, 40, np.int16)
    array = np.zeros(shape, np.uint8)
    array[..., : -(-shape[2] // 2)] = 140
    for voxels in (array, np.zeros(shape, np.uint8)):
        (found,) = attend(profile, [{"liver": voxels}] * models, ["liver"], ct=ct)
        assert found.score.voxels == np.count_nonzero(found.heat.voxels)
        if not voxels.any():
            assert (found.score.voxels, found.regions) == (0, ())
