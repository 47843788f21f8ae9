"""Tumours that a source labelled in whatever organ they lie in."""

import numpy as np
import numpy.typing as npt
import pytest

from services.core.scattered import Part, give_to_organs

LIVER, KIDNEY, TUMOUR, CYST = 1, 2, 14, 3
ORGANS = {LIVER: LIVER, KIDNEY: KIDNEY, CYST: KIDNEY}
Labels = npt.NDArray[np.uint8]


@pytest.fixture
def labels() -> Labels:
    """Two organs side by side along i, with a gap of two voxels."""
    voxels = np.zeros((12, 12, 30), np.uint8)
    voxels[2:10, 2:10, 2:14], voxels[2:10, 2:10, 16:28] = LIVER, KIDNEY
    return voxels


def test_each_part_goes_to_the_organ_around_it(labels: Labels) -> None:
    whole = labels.copy()
    labels[4:7, 4:7, 5:8] = labels[4:6, 4:6, 20:22] = TUMOUR
    assert give_to_organs(labels, TUMOUR, ORGANS, (1, 1, 1)) == [Part(27, LIVER, 1.0), Part(8, KIDNEY, 1.0)]
    np.testing.assert_array_equal(labels, whole)


def test_one_that_bridges_two_organs_goes_to_the_one_it_touches_most(labels: Labels) -> None:
    labels[4:6, 4:6, 13:16] = TUMOUR  # one voxel deep in the liver, up to the kidney
    (part,) = give_to_organs(labels, TUMOUR, ORGANS, (1, 1, 1))
    assert part == Part(12, LIVER, 12 / 32)
    assert (labels[4:6, 4:6, 13:16] == LIVER).all()


def test_area_is_what_counts_and_not_faces(labels: Labels) -> None:
    """Slices of 5 mm: four faces beside it weigh more than five below and above."""
    voxels = np.zeros((4, 6, 6), np.uint8)
    voxels[1, 2, 2] = TUMOUR
    voxels[0], voxels[2] = LIVER, LIVER
    voxels[1, 2, 3] = KIDNEY
    thin, thick = voxels.copy(), voxels.copy()
    assert give_to_organs(thin, TUMOUR, ORGANS, (1, 1, 1))[0].label == LIVER
    assert give_to_organs(thick, TUMOUR, ORGANS, (1, 1, 5))[0].label == KIDNEY


def test_the_labels_of_one_organ_count_together(labels: Labels) -> None:
    voxels = np.zeros((3, 3, 3), np.uint8)
    voxels[1, 1, 1] = TUMOUR
    voxels[0, 1, 1], voxels[2, 1, 1] = KIDNEY, CYST
    voxels[1, 0, 1] = LIVER
    assert give_to_organs(voxels, TUMOUR, ORGANS, (1, 1, 1)) == [Part(1, KIDNEY, 2 / 6)]


def test_one_that_touches_no_organ_stays_what_it_was(labels: Labels) -> None:
    labels[0, 0, 0] = TUMOUR
    labels[11, 11, 25:30] = 9  # a label that is no organ of ours
    labels[11, 11, 24] = TUMOUR
    before = labels.copy()
    assert [part.label for part in give_to_organs(labels, TUMOUR, ORGANS, (1, 1, 1))] == [0, 0]
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_another_order_of_axes_gives_the_same(labels: Labels, axes: tuple[int, int, int]) -> None:
    labels[1:6, 4:6, 13:16] = labels[3:5, 9:12, 20:26] = TUMOUR
    spacing = (0.8, 1.0, 2.5)
    turned, turned_spacing = labels.transpose(axes).copy(), tuple(spacing[::-1][axis] for axis in axes)[::-1]
    parts = give_to_organs(labels, TUMOUR, ORGANS, spacing)
    again = give_to_organs(turned, TUMOUR, ORGANS, (turned_spacing[0], turned_spacing[1], turned_spacing[2]))
    assert [(part.voxels, part.label) for part in parts] == [(part.voxels, part.label) for part in again]
    np.testing.assert_array_equal(labels.transpose(axes), turned)
