"""Small volumes of masks for properties: every voxel by chance, in any orientation."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.boxes import crop
from services.core.geometry import Geometry
from services.merging.layers import NOTHING, Layer, Layers, Packed
from services.merging.precedence import Origin

Masks = npt.NDArray[np.uint8]

SHAPE = (4, 5, 6)
GRID = Geometry((6, 5, 4), (0.7, 0.0, 0.0, 0.0, 0.0, 1.4, 0.0, 0.0, 0.0, 0.0, 2.1, 0.0))
"""So that several steps along one axis are as far as one along another: distances are often equal."""

ORGANS = ("aorta", "hepatic_vessel", "liver", "spleen", "stomach")


def packed(voxels: npt.NDArray[np.bool_] | Masks) -> Packed:
    return Packed.of(crop(np.ascontiguousarray(voxels, np.uint8)))


def whole(mask: Packed, shape: tuple[int, ...] = SHAPE) -> Masks:
    return mask.mask.whole(shape)


def wholes(layers: Layers, shape: tuple[int, ...] = SHAPE) -> dict[str, bytes]:
    """The masks as bytes, to compare; of layers in any order."""
    return {organ: whole(layers[organ].mask, shape).tobytes() for organ in sorted(layers)}


def layers_of(origins: Sequence[Origin], masks: Masks, predicted: Masks) -> dict[str, Layer]:
    return {
        organ: Layer(origin, packed(mask), NOTHING if origin == Origin.AI else packed(said))
        for organ, origin, mask, said in zip(ORGANS, origins, masks, predicted, strict=True)
    }


ORIGINS = st.tuples(*[st.sampled_from(list(Origin))] * len(ORGANS))
MASKS = arrays(np.uint8, (len(ORGANS), *SHAPE), elements=st.integers(0, 1))
LAYERS = st.builds(layers_of, ORIGINS, MASKS, MASKS)

TURNS = [((0, 1, 2), (1, 1, 1)), ((0, 1, 2), (1, -1, -1)), ((2, 0, 1), (1, 1, -1)), ((1, 2, 0), (-1, 1, 1))]
"""(order of the axes k, j, i, step along each of them) of the same volume, scanned otherwise."""


def turned(voxels: Masks, axes: tuple[int, ...], steps: tuple[int, ...]) -> Masks:
    k, j, i = (slice(None, None, step) for step in steps)
    return np.ascontiguousarray(voxels.transpose(axes)[k, j, i])


def turned_grid(grid: Geometry, axes: tuple[int, ...], steps: tuple[int, ...]) -> Geometry:
    """The grid of an array that `turned` gave back."""
    shape, matrix = [grid.array_shape[axis] for axis in axes][::-1], np.eye(4)
    matrix[:3, 3] = grid.matrix[:3, 3]
    for column, (axis, step) in enumerate(zip(axes[::-1], steps[::-1], strict=True)):
        old = grid.matrix[:3, 2 - axis]
        matrix[:3, column] = step * old
        if step < 0:
            matrix[:3, 3] += (shape[column] - 1) * old
    return Geometry.from_matrix((shape[0], shape[1], shape[2]), matrix)


def turned_layers(layers: Layers, axes: tuple[int, ...], steps: tuple[int, ...]) -> dict[str, Layer]:
    return {
        organ: Layer(
            layer.origin,
            packed(turned(whole(layer.mask), axes, steps)),
            packed(turned(whole(layer.predicted), axes, steps)),
        )
        for organ, layer in layers.items()
    }
