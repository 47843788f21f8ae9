"""The largest connected component of a mask."""

from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed, crop


def largest_component(mask: Boxed, orientation: str = "RAS") -> Boxed:
    """The voxels of the largest 26-connected component; an empty mask stays empty. 0/1, cropped.

    Of equal ones the first stays: the one whose first voxel comes first when x is the slowest axis and z the fastest,
    x running to the right, y to the front and z to the head. That is the C order of the arrays (x, y, z) on which
    AbdomenAtlas was made, and because it is an order in the patient it does not change when a volume is re-oriented.
    `orientation` says where i, j and k of the mask run to, as `Geometry.orientation` does.
    """
    if mask.voxels.size == 0:
        return mask
    labels, count = cc3d.connected_components(mask.voxels, connectivity=26, binary_image=True, return_N=True)
    if count <= 1:
        return Boxed(mask.corner, (labels != 0).view(np.uint8))
    sizes = cc3d.statistics(labels, no_slice_conversion=True)["voxel_counts"]
    is_largest = sizes == sizes[1:].max()
    is_largest[0] = False
    label = np.flatnonzero(is_largest)[0] if is_largest.sum() == 1 else _first(labels, is_largest, orientation)
    return crop((labels == label).view(np.uint8), mask.corner)


def _first(labels: npt.NDArray[np.unsignedinteger[Any]], wanted: npt.NDArray[np.bool_], orientation: str) -> int:
    """The wanted label that comes first in the order of `largest_component`."""
    turned = labels.transpose([2 - _index_axis(orientation, pair) for pair in ("RL", "AP", "SI")])
    steps = [1 if code in orientation else -1 for code in "RAS"]
    turned = turned[:: steps[0], :: steps[1], :: steps[2]]
    return int(turned[np.unravel_index(int(wanted[turned].argmax()), turned.shape)])


def _index_axis(orientation: str, pair: str) -> int:
    return next(axis for axis, code in enumerate(orientation) if code in pair)
