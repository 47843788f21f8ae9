"""Organs of a higher origin take their voxels away from neighbours of a lower one."""

from services.core.geometry import Geometry
from services.core.organs import may_share
from services.merging.layers import Kind, Layer, Layers, take_away


def clear(layers: Layers, grid: Geometry) -> Layers:
    """Every mask without the voxels of the masks of higher origins, except those that it shares by anatomy."""
    return {organ: _cleared(organ, layer, layers) for organ, layer in layers.items()}


def _cleared(organ: str, layer: Layer, layers: Layers) -> Layer:
    higher = [other for name, other in layers.items() if other.origin < layer.origin and not may_share(organ, name)]
    if not higher:
        return layer
    mask = layer.mask.mask
    for other in higher:
        take_away(mask, other.mask.mask)
    return layer.changed(Kind.CLEARED, mask)
