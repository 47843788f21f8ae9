"""The label that an ensemble gives an organ, out of where its mean probability is above one half."""

from services.core import organs, pieces
from services.core.boxes import Boxed
from services.core.components import largest_component
from services.core.geometry import Geometry
from services.uncertainty.trimmed import Trimmed


def largest(majority: Trimmed) -> Boxed:
    """The largest connected part of the bits that are set, in its smallest box."""
    return largest_component(majority.boxed())


def usual(organ: str, majority: Trimmed, grid: Geometry) -> Boxed:
    """The pieces of the bits that are set which merging would keep of this organ, in their smallest box."""
    return pieces.with_usual(majority.boxed(), organs.organ(organ), grid.voxel_volume_mm3)
