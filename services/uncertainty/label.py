"""The label that an ensemble gives an organ: the largest connected part of where its mean probability is above half."""

from services.core.boxes import Boxed
from services.core.components import largest_component
from services.uncertainty.trimmed import Trimmed


def largest(majority: Trimmed) -> Boxed:
    """The label of an ensemble that is above one half where the bits are set, in its smallest box."""
    rough = majority.boxed()
    part = largest_component(rough.voxels)
    k, j, i = (a + b for a, b in zip(rough.corner, part.corner, strict=True))
    return Boxed((k, j, i), part.voxels)
