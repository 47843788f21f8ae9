"""One mask out of several models: soft average, on the CT's own grid."""

from services.core.boxes import Boxed
from services.core.components import largest_component
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.core.resample import to_ct_mask


def fuse(ensemble: Ensemble, organ: str, ct: Geometry) -> Boxed:
    """The organ's mask on the grid `ct`, 0/1: the largest 26-connected component of where the mean probability of the
    models that have the organ, interpolated, is above one half. Empty if it is nowhere.
    """
    mask = to_ct_mask(ensemble.slabs(organ), ensemble.geometry, ct, models=len(ensemble.having(organ)))
    return largest_component(mask, ct.orientation)
