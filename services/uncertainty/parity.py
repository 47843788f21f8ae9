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

from services.core.blocks import SLAB, blocks_of
from services.core.ensemble import Ensemble, Stack
from services.core.geometry import Geometry
from services.uncertainty import bitplanes, heat, label, samples, signs
from services.uncertainty.attention import OrganAttention, OrganScore, Profile, flagged_voxels
from services.uncertainty.morphology import opened
from services.uncertainty.trimmed import Trimmed, first_of, span

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
class _Organ:
    """What an organ's own predictions tell: its mask, the opened signs, and the probabilities (model, voxel) there.

    The probabilities are None where they would take too much memory; then they are read again.
    """

    mask: Trimmed
    inconsistent: Trimmed
    uncertain: Trimmed
    values: Stack | None


def attend(
    ensemble: Ensemble, organs: Sequence[str], scanned: Geometry | None = None, ct: object = None
) -> Iterator[OrganAttention]:
    """The parity attention of `organs`; all organs of the ensemble take part in overlap, scored or not.

    Reads every prediction once. Between the organs it holds bits, and the probabilities of the voxels that are
    flagged as long as they take less than one byte a voxel of the grid.
    """
    spare, own = ensemble.geometry.voxel_count, {}
    for organ in sorted(ensemble.organs & {*organs, *OVERLAPPED_BY}):
        own[organ] = _read(ensemble, organ, spare if organ in organs else 0)
        values = own[organ].values
        spare -= 0 if values is None else values.nbytes
    for organ in organs:
        yield _attention(ensemble, organ, own)


def _read(ensemble: Ensemble, organ: str, spare: int) -> _Organ:
    wanted, rough = signs.possible(ensemble.highest(organ)), {}
    flags = Trimmed.around(wanted, ensemble.geometry.array_shape, masks=3)
    before = Trimmed(flags.first, np.zeros(flags.words.shape[1:], np.uint64))
    for blocks in ensemble.blocks(organ, wanted):
        signs.scan(blocks, ensemble.geometry.shape[0], flags)
        here, flagged = (bits.slices(blocks.start, blocks.start + SLAB) for bits in (flags, before))
        np.bitwise_or(here.words[1], here.words[2], out=flagged.words)
        if spare:
            rough[blocks.start] = samples.gather(blocks, flagged)
    majority = flags.words[0]
    inconsistent, uncertain = (opened(words) for words in flags.words[1:])
    left, values = inconsistent | uncertain, None
    voxels = bitplanes.count(left)
    if voxels * len(ensemble.having(organ)) < spare:
        values = np.empty((len(ensemble.having(organ)), voxels), np.uint8)
        _keep(rough, before, Trimmed(flags.first, left), values)
    mask = label.largest(Trimmed(flags.first, majority))
    return _Organ(
        Trimmed.packed(mask), Trimmed.of(inconsistent, flags.first), Trimmed.of(uncertain, flags.first), values
    )


def _keep(rough: Mapping[int, Stack], before: Trimmed, left: Trimmed, values: Stack) -> None:
    """Put what was gathered slab by slab for the bits of `before` into `values`, for those that are left."""
    at = 0
    for start, found in rough.items():
        were, are = (bits.slices(start, start + SLAB).words for bits in (before, left))
        kept = samples.moved(found, were, are)
        values[:, at : at + kept.shape[1]] = kept
        at += kept.shape[1]


def _attention(ensemble: Ensemble, organ: str, organs: Mapping[str, _Organ]) -> OrganAttention:
    own = organs[organ]
    box = span([own.mask, own.inconsistent, own.uncertain])
    inconsistent, uncertain = own.inconsistent.over(box), own.uncertain.over(box)
    overlap = np.zeros(inconsistent.shape, np.uint64)
    for other in OVERLAPPED_BY & organs.keys() - {organ}:
        common = own.mask.common(organs[other].mask)
        if common:
            common.add_to(overlap, box)
    own_signs = Trimmed(first_of(box), inconsistent | uncertain)
    values = own.values if own.values is not None else _read_again(ensemble, organ, own_signs)
    flagged = own_signs
    if overlap.any():
        flagged = Trimmed(own_signs.first, own_signs.words | overlap)
        values = samples.moved(values, own_signs.words, flagged.words)
    stored = heat.stored(values, inconsistent, uncertain, overlap)
    score = OrganScore(
        organ=organ,
        voxels=len(stored),
        heat_sum=int(stored.sum(dtype=np.int64)),
        heat_max=int(stored.max(initial=0)),
        inconsistency_voxels=bitplanes.count(inconsistent),
        uncertainty_voxels=bitplanes.count(uncertain),
        overlap_voxels=bitplanes.count(overlap),
    )
    return OrganAttention(samples.spread(stored, flagged), score)


def _read_again(ensemble: Ensemble, organ: str, flagged: Trimmed) -> Stack:
    """The probabilities (model, voxel) of the flagged voxels."""
    values, at = np.empty((len(ensemble.having(organ)), bitplanes.count(flagged.words)), np.uint8), 0
    for blocks in ensemble.blocks(organ, flagged.blocks(blocks_of(ensemble.geometry.array_shape))):
        part = samples.gather(blocks, flagged)
        values[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    return values


PARITY = Profile(
    name="parity",
    version="1",
    description="The arithmetic of AbdomenAtlas-8K on uncut probabilities: disagreement, entropy and overlap in "
    "voxels, each organ's heat divided by its own maximum.",
    attend=attend,
    reads_ct=False,
    priority=flagged_voxels,
    urgency=lambda score: score.heat_sum,
)
