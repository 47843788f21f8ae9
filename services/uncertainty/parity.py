"""The parity profile: the attention of AbdomenAtlas-8K, bit for bit on the binary maps.

Per organ, from the models that have it: *inconsistency* (the models differ), *uncertainty* (they are unsure) and
*overlap* (two organs claim the voxel). The first two are opened by 5x5x5 voxels, each by itself, then all three are
united; the heat adds them up, divided by the organ's maximum.

It is given uncut probabilities. The original set each model's stored probabilities to 0 away from that model's own
mask (but not its entropies), which hid what all models had cut off.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.core.boxes import Boxed
from services.core.components import largest_component
from services.core.ensemble import Ensemble, Stack
from services.core.geometry import Geometry
from services.uncertainty import bitplanes, kernels
from services.uncertainty.attention import OrganAttention, OrganScore, Profile, flagged_voxels
from services.uncertainty.bitplanes import Trimmed, Words

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


@dataclass(frozen=True)
class _Signs:
    """What an organ's own predictions tell: its mask, the opened signs, and the probabilities (voxel, model) there.

    The probabilities are None where they would take too much memory; then they are read again.
    """

    mask: Trimmed
    inconsistent: Trimmed
    uncertain: Trimmed
    values: Stack | None


def attend(ensemble: Ensemble, organs: Sequence[str], scanned: Geometry | None = None) -> Iterator[OrganAttention]:
    """The parity attention of `organs`; all organs of the ensemble take part in overlap, scored or not.

    Reads every prediction once. Between the organs it holds bits, and the probabilities of the voxels that are
    flagged as long as they take less than one byte a voxel of the grid.
    """
    spare, signs = ensemble.geometry.voxel_count, {}
    for organ in sorted(ensemble.organs & {*organs, *OVERLAPPED_BY}):
        signs[organ] = _signs(ensemble, organ, spare if organ in organs else 0)
        values = signs[organ].values
        spare -= 0 if values is None else values.nbytes
    for organ in organs:
        yield _attention(ensemble, organ, signs)


def ensemble_mask(majority: Words) -> Boxed:
    """The largest component of where the models' mean probability is above one half."""
    rough = bitplanes.boxed(majority)
    part = largest_component(rough.voxels)
    k, j, i = (a + b for a, b in zip(rough.corner, part.corner, strict=True))
    return Boxed((k, j, i), part.voxels)


def _signs(ensemble: Ensemble, organ: str, spare: int) -> _Signs:
    shape = ensemble.geometry.array_shape
    flags = kernels.Flags.none(shape)
    rough: list[tuple[slice, Stack]] = []
    for start, stack in ensemble.slabs(organ):
        slices = slice(start, start + stack.shape[1])
        kernels.scan(stack, flags.of(slices))
        if spare:
            rough.append((slices, bitplanes.gather(stack, flags.unsure(slices))))
    mask = Trimmed.of(bitplanes.pack(ensemble_mask(flags.majority), shape))
    inconsistent = bitplanes.open_box(flags.inconsistent, shape[2])
    uncertain = bitplanes.open_box(flags.uncertain, shape[2])
    opened = inconsistent | uncertain
    values = None
    if bitplanes.count(opened) * len(ensemble.having(organ)) < spare:
        kept = [kernels.kept(part, flags.unsure(slices), opened[slices]) for slices, part in rough]
        values = np.concatenate(kept or [np.zeros((0, 1), np.uint8)])
    return _Signs(mask, Trimmed.of(inconsistent), Trimmed.of(uncertain), values)


def _attention(ensemble: Ensemble, organ: str, signs: Mapping[str, _Signs]) -> OrganAttention:
    shape, own = ensemble.geometry.array_shape, signs[organ]
    inconsistent, uncertain, overlap = (bitplanes.empty(shape) for _ in range(3))
    own.inconsistent.add_to(inconsistent)
    own.uncertain.add_to(uncertain)
    for other in OVERLAPPED_BY & signs.keys() - {organ}:
        common = own.mask.common(signs[other].mask)
        if common:
            common.add_to(overlap)
    values = own.values if own.values is not None else _gathered(ensemble, organ, inconsistent | uncertain)
    sums = kernels.heat(values, inconsistent, uncertain, overlap)
    # floor(255 * (H / its maximum)) in place: the organ may be as large as the grid. At least 1 at every flagged voxel.
    sums /= sums.max(initial=0)
    sums *= 255
    stored = np.floor(sums, out=sums).astype(np.uint8)
    score = OrganScore(
        organ=organ,
        voxels=len(stored),
        heat_sum=int(stored.sum(dtype=np.int64)),
        heat_max=int(stored.max(initial=0)),
        inconsistency_voxels=bitplanes.count(inconsistent),
        uncertainty_voxels=bitplanes.count(uncertain),
        overlap_voxels=bitplanes.count(overlap),
    )
    return OrganAttention(bitplanes.spread(stored, inconsistent | uncertain | overlap), score)


def _gathered(ensemble: Ensemble, organ: str, flagged: Words) -> Stack:
    """The probabilities (voxel, model) of the flagged voxels, read again."""
    values, at = np.empty((bitplanes.count(flagged), len(ensemble.having(organ))), np.uint8), 0
    for start, stack in ensemble.slabs(organ, bitplanes.bounds(flagged)[0]):
        part = bitplanes.gather(stack, flagged[start : start + stack.shape[1]])
        values[at : at + len(part)] = part
        at += len(part)
    return values


PARITY = Profile(
    name="parity",
    version="1",
    description="The arithmetic of AbdomenAtlas-8K on uncut probabilities: disagreement, entropy and overlap in "
    "voxels, each organ's heat divided by its own maximum.",
    attend=attend,
    priority=flagged_voxels,
    urgency=lambda score: score.heat_sum,
)
