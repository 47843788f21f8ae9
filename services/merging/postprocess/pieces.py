"""Which of an organ's 26-connected pieces stay."""

from collections.abc import Callable, Iterator, Sequence

from services.core import pieces
from services.core.boxes import Boxed
from services.core.components import largest_component
from services.core.geometry import Geometry
from services.core.organs import Organ, organ
from services.merging.layers import Layers


def keep_largest(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """Only the largest piece; of equal ones the one that comes first in the patient."""
    for name in organs:
        yield name, largest_component(layers[name].mask.mask, grid.orientation)


def keep_plausible(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """`plausible` pieces of every organ."""
    return _changed(organs, layers, grid, pieces.plausible)


def drop_islands(organs: Sequence[str], layers: Layers, grid: Geometry) -> Iterator[tuple[str, Boxed]]:
    """Every organ `without_islands`."""
    return _changed(organs, layers, grid, pieces.without_islands)


def _changed(
    organs: Sequence[str], layers: Layers, grid: Geometry, keeping: Callable[[Boxed, Organ, float], Boxed]
) -> Iterator[tuple[str, Boxed]]:
    for name in organs:
        mask = layers[name].mask.mask
        left = keeping(mask, organ(name), grid.voxel_volume_mm3)
        if left is not mask:
            yield name, left
