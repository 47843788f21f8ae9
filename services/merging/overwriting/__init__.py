"""What happens where an organ of a higher origin meets neighbours of a lower one: pure functions of one signature."""

from collections.abc import Callable, Mapping

from services.core.geometry import Geometry
from services.merging.layers import Layers
from services.merging.overwriting.clear import clear
from services.merging.overwriting.reassign import reassign
from services.merging.policy import Overwrite

Overwriter = Callable[[Layers, Geometry], Layers]
"""From the organs of a volume, and its grid, to the organs as they go into the label version. A layer of the source is
given back as it is; applied a second time, it changes nothing."""


def keep(layers: Layers, grid: Geometry) -> Layers:
    """Masks may overlap."""
    return layers


OVERWRITERS: Mapping[Overwrite, Overwriter] = {
    Overwrite.KEEP: keep,
    Overwrite.CLEAR: clear,
    Overwrite.REASSIGN: reassign,
}
