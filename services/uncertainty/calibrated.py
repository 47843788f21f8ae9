"""The calibrated profile: where the label is probably wrong, as regions with a probability, comparable between cases.

The ensemble's label of an organ is doubted where its mean probability speaks against it. Thick parts of doubt (in mm)
become regions; a region's volume, shape, place, entropy and disagreement give the probability that the label is wrong
there. What an anatomical rule points at, and what two organs claim, are regions too. Formulas: docs/attention.md.

All sums are whole numbers and no order of the models enters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from services.core.boxes import EMPTY, Boxed
from services.core.ensemble import Ensemble, Stack
from services.core.geometry import Geometry
from services.uncertainty import bitplanes, calibration, elsewhere, samples, tissue
from services.uncertainty.attention import (
    MAX_FINDINGS,
    Cause,
    OrganAttention,
    OrganScore,
    Profile,
    Region,
    expected_error_mm3,
)
from services.uncertainty.calibration import Calibration, Family, radii
from services.uncertainty.doubted import Doubted
from services.uncertainty.expected import expected_voxels
from services.uncertainty.morphology import opened
from services.uncertainty.priors import catalog
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Finding, Severity
from services.uncertainty.regions import Around, Piece, crowd, measured
from services.uncertainty.shown import Shown, heat, ruled
from services.uncertainty.tissue import Hounsfield
from services.uncertainty.trimmed import Trimmed, corner_of, first_of, grown, span, voxels_of

_BY_TISSUE = {Cause.LIKE: Family.LIKE, Cause.UNLIKE: Family.UNLIKE}


@dataclass(frozen=True)
class Candidate:
    """A region that may be wrong: component `number` of the piece, its features and its probability."""

    piece: Piece
    number: int
    family: Family
    features: Mapping[str, float]
    probability: float


@dataclass(frozen=True)
class _Case:
    """What is known of the whole case before any organ is scored."""

    ensemble: Ensemble
    labels: Mapping[str, Doubted]
    mean_crowd: float
    findings: Sequence[Finding]
    floor_mm: float | None
    """Lower end of the lower kidney, see `elsewhere`."""
    ct: Hounsfield | None
    constants: Calibration

    @staticmethod
    def of(ensemble: Ensemble, scanned: Geometry | None, ct: Hounsfield | None, constants: Calibration) -> "_Case":
        labels = {organ: Doubted.of(ensemble, organ, constants) for organ in sorted(ensemble.organs)}
        masks = {organ: label.boxed for organ, label in labels.items()}
        present = sum(label.voxels > 0 for label in labels.values())
        return _Case(
            ensemble,
            labels,
            sum(label.crowd for label in labels.values()) / max(present, 1),
            list(check(Anatomy.of(masks, ensemble.geometry, scanned=scanned))),
            elsewhere.floor_mm((masks.get("kidney_left", EMPTY), masks.get("kidney_right", EMPTY)), ensemble.geometry),
            ct,
            constants,
        )

    def named(self, organ: str) -> list[Finding]:
        """The findings about an organ that say where."""
        return [one for one in self.findings if organ in one.organs and one.region.voxels.size]

    def telling(self, organ: str) -> list[Finding]:
        """Those of them that are evidence for a region where they lie, the gravest first."""
        telling = [one for one in self.named(organ) if one.severity >= Severity.WARNING]
        return sorted(telling, key=lambda one: -one.severity)


def attend(
    ensemble: Ensemble,
    organs: Sequence[str],
    scanned: Geometry | None = None,
    ct: Hounsfield | None = None,
    constants: Calibration | None = None,
) -> Iterator[OrganAttention]:
    """The calibrated attention of `organs`; all organs of the ensemble take part in overlap and rules, scored or not.

    `scanned` is the CT's own geometry, where its box may differ from the grid's: a rule is silent beyond it. `ct` is
    its HU, int16 (k, j, i), on the ensemble's grid; without it the models, the organs and the rules are all there is.
    Reads every prediction once, and again the slabs that hold candidate regions.
    """
    constants = constants or calibration.load()
    case = _Case.of(ensemble, scanned, ct, constants)
    for organ in organs:
        shown = [
            *_doubted(organ, _candidates(case, organ), case.telling(organ), ensemble.geometry, constants),
            *ruled(organ, case.named(organ), constants),
        ]
        drawn = heat(shown, ensemble.geometry, constants)
        regions = tuple(sorted((one.region for one in shown), key=lambda region: -region.expected_mm3))
        yield OrganAttention(drawn, _score(organ, drawn, regions, expected_voxels(shown), ensemble.geometry), regions)


def candidates(
    ensemble: Ensemble,
    organs: Sequence[str],
    scanned: Geometry | None = None,
    ct: Hounsfield | None = None,
    constants: Calibration | None = None,
) -> Iterator[tuple[str, list[Candidate]]]:
    """All regions that `attend` gives a probability, shown or not, organ by organ: what its weights are fitted on."""
    case = _Case.of(ensemble, scanned, ct, constants or calibration.load())
    for organ in organs:
        yield organ, list(_candidates(case, organ))


def _candidates(case: _Case, organ: str) -> Iterator[Candidate]:
    grid, own, constants = case.ensemble.geometry, case.labels[organ], case.constants
    words = bitplanes.words_of(grid.array_shape)
    box = grown(span([own.bits, own.add, own.remove]), tissue.reach(grid.spacing_mm[::-1], constants.tissue), words)
    inside = own.bits.over(box)
    others, found = np.zeros_like(inside), np.zeros_like(inside)
    for other in case.labels.keys() - {organ}:
        case.labels[other].bits.add_to(others, box)
    for finding in case.telling(organ):
        Trimmed.packed(finding.region).add_to(found, box)
    thick = radii(grid.spacing_mm[::-1], constants.open_mm)
    sides = {Cause.ADD: own.add, Cause.REMOVE: own.remove}
    sides[Cause.OVERLAP] = Trimmed.of(opened(inside & others, thick), first_of(box))
    looks = None
    if case.ct is not None:
        hu = tissue.averaged(case.ct, voxels_of(box), grid.spacing_mm[::-1], constants.tissue)
        looks = tissue.tissue_of(hu, inside, others, grid.spacing_mm[::-1], constants.tissue, constants.open_mm)
    least = constants.tissue.least_mm3 / grid.voxel_volume_mm3
    tissue_crowd = 0
    if looks is not None:
        sides |= {
            Cause.LIKE: Trimmed.of(looks.like, first_of(box)),
            Cause.UNLIKE: Trimmed.of(looks.unlike, first_of(box)),
        }
        tissue_crowd = crowd(looks.like, least) + crowd(looks.unlike, least)
    around = Around(
        grid,
        corner_of(box),
        inside,
        others,
        found,
        own.boxed.slices,
        own.voxels,
        own.band_mm,
        own.crowd,
        case.mean_crowd,
        looks,
        tissue_crowd,
    )
    values = _gathered(case.ensemble, organ, list(sides.values()))
    pieces = [
        measured(cause, bits.over(box), part, around, constants)
        for (cause, bits), part in zip(sides.items(), values, strict=True)
    ]
    by_models = [piece for piece in pieces if piece.cause not in _BY_TISSUE]
    by_tissue = [piece for piece in pieces if piece.cause in _BY_TISSUE]
    for some, least_mm3 in ((by_models, constants.least_mm3), (by_tissue, constants.tissue.least_mm3)):
        yield from _weighed(case, organ, some, least_mm3)


def _gathered(ensemble: Ensemble, organ: str, sides: Sequence[Trimmed]) -> list[Stack]:
    """The probabilities (model, voxel) where bits are set, of each of some masks."""
    models = len(ensemble.having(organ))
    # Blocks that are 0 for all models are not read.
    values = [np.zeros((models, bitplanes.count(side.words)), np.uint8) for side in sides]
    there = ensemble.highest(organ).any(axis=0)
    held = np.logical_or.reduce([side.blocks(there.shape) for side in sides])
    for blocks in ensemble.blocks(organ, there & held):
        for side, out in zip(sides, values, strict=True):
            part = samples.gather(blocks, side)
            at = bitplanes.count(side.words[: max(0, blocks.start - side.first[0])])
            out[:, at : at + part.shape[1]] = part
    return values


def _weighed(case: _Case, organ: str, pieces: Sequence[Piece], least_mm3: float) -> Iterator[Candidate]:
    """The regions of at least `least_mm3` where the organ may be, with their rank among these and their probability."""
    grid, constants = case.ensemble.geometry, case.constants
    large = [
        (piece, number, int(count))
        for piece in pieces
        for number, count in enumerate(piece.sums.voxels)
        if int(count) * grid.voxel_volume_mm3 >= least_mm3
        and (
            piece.sums.kept_faces[number].any()
            or not elsewhere.is_elsewhere(organ, piece.sums.first[number], piece.sums.last[number], case.floor_mm, grid)
        )
    ]
    sizes = np.sort([count for _, _, count in large])
    for piece, number, count in large:
        rank = 1 + len(sizes) - int(np.searchsorted(sizes, count, side="right"))
        features = {**piece.features[number], "log_rank": log(rank)}
        family = _BY_TISSUE.get(piece.cause) or (Family.DOUBT_WITH_CT if "evidence" in features else Family.DOUBT)
        yield Candidate(piece, number, family, features, constants.probability(family, features))


def _doubted(
    organ: str, candidates: Iterable[Candidate], telling: Sequence[Finding], grid: Geometry, constants: Calibration
) -> Iterator[Shown]:
    by_piece: dict[int, list[tuple[Finding, npt.NDArray[np.bool_]]]] = {}
    for one in candidates:
        if one.probability >= constants.least_probability:
            sums, number = one.piece.sums, one.number
            if id(one.piece) not in by_piece:
                by_piece[id(one.piece)] = [(finding, one.piece.touched(finding.region)) for finding in telling]
            findings = [finding for finding, touched in by_piece[id(one.piece)] if touched[number]]
            count, first, last = int(sums.voxels[number]), sums.first[number], sums.last[number]
            k, j, i = (float(index) / count for index in sums.index_sum[number])
            region = Region(
                organ,
                one.piece.cause,
                (int(first[0]), int(first[1]), int(first[2])),
                (int(last[0] - first[0]) + 1, int(last[1] - first[1]) + 1, int(last[2] - first[2]) + 1),
                (k, j, i),
                count * grid.voxel_volume_mm3,
                one.probability,
                one.features["disagreement"],
                tuple(findings[:MAX_FINDINGS]),
            )
            yield Shown(region, one.piece, number, None)


def _score(organ: str, heat: Boxed, regions: Sequence[Region], expected: float, grid: Geometry) -> OrganScore:
    def voxels(*causes: Cause) -> int:
        return round(sum(r.volume_mm3 for r in regions if r.cause in causes) / grid.voxel_volume_mm3)

    return OrganScore(
        organ=organ,
        voxels=heat.count,
        heat_sum=int(heat.voxels.sum(dtype=np.int64)),
        heat_max=int(heat.voxels.max(initial=0)),
        inconsistency_voxels=0,
        uncertainty_voxels=voxels(Cause.ADD, Cause.REMOVE),
        overlap_voxels=voxels(Cause.OVERLAP),
        expected_error_mm3=expected * grid.voxel_volume_mm3,
    )


CALIBRATED = Profile(
    name="calibrated",
    version=f"5.{catalog.VERSION}.{calibration.digest()}",
    description="Regions where the label is probably wrong, each with a calibrated probability: doubt of the ensemble, "
    "overlap and anatomical rules, in mm; heat and priority compare between cases.",
    attend=attend,
    reads_ct=True,
    priority=expected_error_mm3,
    urgency=lambda score: score.expected_error_mm3,
)
