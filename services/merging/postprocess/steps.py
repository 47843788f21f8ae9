"""The steps by their number in the contract."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from services.core.boxes import Boxed
from services.core.geometry import Geometry
from services.core.organs import Step
from services.merging.layers import Layers
from services.merging.postprocess.holes import fill_holes
from services.merging.postprocess.pieces import drop_islands, keep_largest, keep_plausible
from services.merging.postprocess.sides import sort_sides

Function = Callable[[Sequence[str], Layers, Geometry], Iterator[tuple[str, Boxed]]]
"""From the organs that take the step, all organs of the volume, and its grid, to the new masks. The organs are looked
up as they are asked for, so a step sees what it has changed already."""

STEPS: Mapping[Step, Function] = {
    Step.SIDES: sort_sides,
    Step.ISLANDS: drop_islands,
    Step.PLAUSIBLE: keep_plausible,
    Step.LARGEST: keep_largest,
    Step.HOLES: fill_holes,
}
