"""The parity profile: the attention of AbdomenAtlas-8K, bit for bit on the binary maps.

Per organ, from the models that have it: *inconsistency* (the models differ), *uncertainty* (they are unsure) and
*overlap* (two organs claim the voxel). The first two are opened by 5x5x5 voxels, each by itself, then all three are
united; the heat adds them up, divided by the organ's maximum.

It is given uncut probabilities. The original set each model's stored probabilities to 0 away from that model's own
mask (but not its entropies), which hid what all models had cut off.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from services.core.boxes import Boxed, Region, common, crop
from services.core.components import largest_component
from services.core.ensemble import Ensemble
from services.uncertainty import kernels
from services.uncertainty.attention import OrganAttention, OrganScore, Profile
from services.uncertainty.kernels import INCONSISTENT, OVERLAPPING, UNCERTAIN, Values
from services.uncertainty.opening import open_box

OVERLAPPED_BY = frozenset(
    {
        "adrenal_gland_left",
        "adrenal_gland_right",
        "bladder",
        "colon",
        "duodenum",
        "esophagus",
        "femur_left",
        "femur_right",
        "gall_bladder",
        "intestine",
        "kidney_left",
        "kidney_right",
        "liver",
        "lung_left",
        "lung_right",
        "pancreas",
        "prostate",
        "rectum",
        "spleen",
        "stomach",
    }
)
"""The organs that another one may be found to overlap with. Vessels are not among them: they may touch anything. A
vessel that is scored does receive overlap."""


def attend(ensemble: Ensemble, organs: Sequence[str]) -> Iterator[OrganAttention]:
    """The parity attention of `organs`; all organs of the ensemble take part in overlap, scored or not.

    Holds the ensemble's masks (their boxes) and one uint8 volume beside the slab that is read.
    """
    masks = {organ: ensemble_mask(ensemble, organ) for organ in sorted(ensemble.organs & {*organs, *OVERLAPPED_BY})}
    for organ in organs:
        yield _attention(ensemble, organ, masks)


def ensemble_mask(ensemble: Ensemble, organ: str) -> Boxed:
    """The largest component of where the models' mean probability is above one half, on the grid of the predictions."""
    mask = np.empty(ensemble.geometry.array_shape, np.uint8)
    for start, stack in ensemble.slabs(organ):
        mask[start : start + stack.shape[1]] = kernels.majority(stack)
    return largest_component(mask)


def _attention(ensemble: Ensemble, organ: str, masks: Mapping[str, Boxed]) -> OrganAttention:
    flags = np.empty(ensemble.geometry.array_shape, np.uint8)
    for start, stack in ensemble.slabs(organ):
        flags[start : start + stack.shape[1]] = kernels.flags(stack)
    rough = crop(flags)
    rough.voxels[...] = open_box(rough.voxels)
    for other in OVERLAPPED_BY & masks.keys() - {organ}:
        part = common(masks[organ], masks[other])
        if part:
            flags[part] |= (masks[organ].within(part) & masks[other].within(part)) * np.uint8(OVERLAPPING)
    flagged = crop(flags)
    heat = _heat(ensemble, organ, flagged)
    score = OrganScore(
        organ=organ,
        voxels=heat.count,
        heat_sum=int(heat.voxels.sum(dtype=np.int64)),
        heat_max=int(heat.voxels.max(initial=0)),
        inconsistency_voxels=int(np.count_nonzero(flagged.voxels & INCONSISTENT)),
        uncertainty_voxels=int(np.count_nonzero(flagged.voxels & UNCERTAIN)),
        overlap_voxels=int(np.count_nonzero(flagged.voxels & OVERLAPPING)),
    )
    return OrganAttention(heat, score)


def _heat(ensemble: Ensemble, organ: str, flagged: Boxed) -> Boxed:
    """floor(255 H), H divided by its maximum over the organ; at least 1 wherever a voxel is flagged."""
    heat = np.zeros(flagged.voxels.shape, np.uint8)
    # Read twice: holding the values until their maximum is known would take eight bytes a voxel.
    peak = max((values.max(initial=0) for _, values in _heat_slabs(ensemble, organ, flagged)), default=0)
    for part, values in _heat_slabs(ensemble, organ, flagged):
        slab = Boxed(flagged.corner, heat).within(part)
        slab[flagged.within(part) != 0] = np.floor(255 * (values / peak))
    return Boxed(flagged.corner, heat)


def _heat_slabs(ensemble: Ensemble, organ: str, flagged: Boxed) -> Iterator[tuple[Region, Values]]:
    """(part of the volume, heat of its flagged voxels in C order) for the slabs that the box of `flagged` touches."""
    k, j, i = flagged.slices
    for start, stack in ensemble.slabs(organ, k):
        low, high = max(start, k.start), min(start + stack.shape[1], k.stop)
        part = slice(low, high), j, i
        yield part, kernels.heat(stack[:, low - start : high - start, j, i], flagged.within(part))


PARITY = Profile(
    name="parity",
    version=1,
    description="The arithmetic of AbdomenAtlas-8K on uncut probabilities: disagreement, entropy and overlap in "
    "voxels, each organ's heat divided by its own maximum.",
    attend=attend,
)
