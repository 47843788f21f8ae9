"""The calibrated profile: where the label is probably wrong, as regions with a probability, comparable between cases.

The ensemble's label of an organ is doubted where its mean probability speaks against it. Thick parts of doubt (in mm)
become regions; a region's volume, shape, place, entropy and disagreement give the probability that the label is wrong
there. What an anatomical rule points at, and what two organs claim, are regions too. Formulas: docs/attention.md.

All sums are whole numbers and no order of the models enters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log

import numpy as np

from services.core.boxes import Boxed
from services.core.components import labelled_runs, largest_component
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty import bitplanes, calibration, doubt, tissue
from services.uncertainty.attention import Cause, OrganAttention, OrganScore, Profile, Region, expected_error_mm3
from services.uncertainty.bitplanes import Trimmed, Values, Words
from services.uncertainty.calibration import Calibration, Family, radii
from services.uncertainty.doubt import Doubt
from services.uncertainty.priors import catalog
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Finding, Severity
from services.uncertainty.regions import Around, Piece, crowd, measured, paint, set_aside
from services.uncertainty.tissue import Hounsfield

_BY_TISSUE = {Cause.LIKE: Family.LIKE, Cause.UNLIKE: Family.UNLIKE}


@dataclass(frozen=True)
class _Label:
    """What an organ's own predictions tell: its label, the candidate regions to both sides of the border."""

    boxed: Boxed
    bits: Trimmed
    add: Trimmed
    remove: Trimmed
    voxels: int
    band_mm: float
    crowd: int


@dataclass(frozen=True)
class _Shown:
    """A region that is shown, and the runs of component `number` that it is made of."""

    region: Region
    piece: Piece | None
    number: int
    finding: Boxed | None


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
    labels: Mapping[str, _Label]
    mean_crowd: float
    findings: Sequence[Finding]
    hu: Hounsfield | None
    constants: Calibration

    @staticmethod
    def of(ensemble: Ensemble, scanned: Geometry | None, ct: Hounsfield | None, constants: Calibration) -> "_Case":
        labels = {organ: _label(ensemble, organ, constants) for organ in sorted(ensemble.organs)}
        masks = {organ: label.boxed for organ, label in labels.items()}
        present = sum(label.voxels > 0 for label in labels.values())
        return _Case(
            ensemble,
            labels,
            sum(label.crowd for label in labels.values()) / max(present, 1),
            list(check(Anatomy.of(masks, ensemble.geometry, scanned=scanned))),
            None if ct is None else tissue.averaged(ct, _spacing(ensemble.geometry), constants.tissue),
            constants,
        )

    def named(self, organ: str) -> list[Finding]:
        """The findings about an organ that say where."""
        return [one for one in self.findings if organ in one.organs and one.region.voxels.size]


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
            *_doubted(organ, _candidates(case, organ), ensemble.geometry, constants),
            *_ruled(organ, case.named(organ), ensemble.geometry, constants),
        ]
        heat = _heat(shown, ensemble.geometry, constants)
        regions = tuple(sorted((one.region for one in shown), key=lambda region: -region.expected_mm3))
        yield OrganAttention(heat, _score(organ, heat, regions, ensemble.geometry), regions)


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


def _label(ensemble: Ensemble, organ: str, constants: Calibration) -> _Label:
    grid, models = ensemble.geometry, len(ensemble.having(organ))
    shape, weak, strong = grid.array_shape, constants.weak_sum(models), constants.strong_sum(models)
    planes = Doubt.none(shape)
    for start, stack in ensemble.slabs(organ):
        planes.add(stack, start, weak, strong)
    rough = bitplanes.boxed(planes.majority)
    part = largest_component(rough.voxels)
    k, j, i = (a + b for a, b in zip(rough.corner, part.corner, strict=True))
    mask = Boxed((k, j, i), part.voxels)
    bits = bitplanes.pack(mask, shape)
    for plane in (planes.more, planes.much_more):
        plane &= ~bits
    for plane in (planes.less, planes.much_less):
        plane &= bits
    doubted = bitplanes.count(planes.more) + bitplanes.count(planes.less)
    size = radii(_spacing(grid), constants.open_mm)
    faces = zip(doubt.surface(bits, shape[2]), _spacing(grid), strict=True)
    area_mm2 = sum(count * (grid.voxel_volume_mm3 / spacing) for count, spacing in faces)
    least = constants.least_mm3 / grid.voxel_volume_mm3
    add = set_aside(planes.more, planes.much_more, shape[2], size)
    remove = set_aside(planes.less, planes.much_less, shape[2], size)
    return _Label(
        boxed=mask,
        bits=Trimmed.of(bits),
        add=Trimmed.of(add),
        remove=Trimmed.of(remove),
        voxels=mask.count,
        crowd=crowd(add, least) + crowd(remove, least),
        band_mm=doubted * grid.voxel_volume_mm3 / max(area_mm2, 1.0),
    )


def _candidates(case: _Case, organ: str) -> Iterator[Candidate]:
    grid, own, constants = case.ensemble.geometry, case.labels[organ], case.constants
    label, others, found = (bitplanes.empty(grid.array_shape) for _ in range(3))
    own.bits.add_to(label)
    for other in case.labels.keys() - {organ}:
        case.labels[other].bits.add_to(others)
    for finding in case.named(organ):
        if finding.severity >= Severity.WARNING:
            bitplanes.add(finding.region, found)
    sides = {
        Cause.ADD: _whole(own.add, grid),
        Cause.REMOVE: _whole(own.remove, grid),
        Cause.OVERLAP: bitplanes.open_box(label & others, grid.shape[0], radii(_spacing(grid), constants.open_mm)),
    }
    looks = None
    if case.hu is not None:
        looks = tissue.tissue_of(case.hu, label, others, _spacing(grid), constants.tissue, constants.open_mm)
    least = constants.tissue.least_mm3 / grid.voxel_volume_mm3
    tissue_crowd = 0
    if looks is not None:
        sides |= {Cause.LIKE: looks.like, Cause.UNLIKE: looks.unlike}
        tissue_crowd = crowd(looks.like, least) + crowd(looks.unlike, least)
    around = Around(
        grid, label, others, found, own.voxels, own.band_mm, own.crowd, case.mean_crowd, looks, tissue_crowd
    )  # fmt: skip
    values = _gathered(case.ensemble, organ, list(sides.values()))
    pieces = [
        measured(cause, bits, part, around, constants)
        for (cause, bits), part in zip(sides.items(), values, strict=True)
    ]
    by_models = [piece for piece in pieces if piece.cause not in _BY_TISSUE]
    yield from _weighed(by_models, constants.least_mm3, grid, constants)
    yield from _weighed(
        [piece for piece in pieces if piece.cause in _BY_TISSUE], constants.tissue.least_mm3, grid, constants
    )


def _gathered(ensemble: Ensemble, organ: str, planes: Sequence[Words]) -> list[Values]:
    """The probabilities (voxel, model) of the bits of every plane; slabs that are 0 for all models are not read."""
    models = len(ensemble.having(organ))
    values = [np.zeros((bitplanes.count(plane), models), np.uint8) for plane in planes]
    every = np.bitwise_or.reduce(planes)
    done, at = 0, [0] * len(planes)
    for start, stack in ensemble.slabs(organ, bitplanes.bounds(every)[0]):
        for number, plane in enumerate(planes):
            first = at[number] + bitplanes.count(plane[done:start])
            part = bitplanes.gather(stack, plane[start : start + stack.shape[1]])
            values[number][first : first + len(part)] = part
            at[number] = first + len(part)
        done = start + stack.shape[1]
    return values


def _weighed(pieces: Sequence[Piece], least_mm3: float, grid: Geometry, constants: Calibration) -> Iterator[Candidate]:
    """The regions of at least `least_mm3`, with their rank among these and their probability."""
    large = [
        (piece, number, int(count))
        for piece in pieces
        for number, count in enumerate(piece.sums.voxels)
        if int(count) * grid.voxel_volume_mm3 >= least_mm3
    ]
    sizes = np.sort([count for _, _, count in large])
    for piece, number, count in large:
        rank = 1 + len(sizes) - int(np.searchsorted(sizes, count, side="right"))
        features = {**piece.features[number], "log_rank": log(rank)}
        family = _BY_TISSUE.get(piece.cause) or (Family.DOUBT_WITH_CT if "evidence" in features else Family.DOUBT)
        yield Candidate(piece, number, family, features, constants.probability(family, features))


def _doubted(organ: str, candidates: Iterable[Candidate], grid: Geometry, constants: Calibration) -> Iterator[_Shown]:
    for one in candidates:
        if one.probability >= constants.least_probability:
            sums, number = one.piece.sums, one.number
            count, first, last = int(sums.voxels[number]), sums.first[number], sums.last[number]
            k, j, i = (float(index) / count for index in sums.index[number])
            region = Region(
                organ,
                one.piece.cause,
                (int(first[0]), int(first[1]), int(first[2])),
                (int(last[0] - first[0]) + 1, int(last[1] - first[1]) + 1, int(last[2] - first[2]) + 1),
                (k, j, i),
                count * grid.voxel_volume_mm3,
                one.probability,
                one.features["disagreement"],
            )
            yield _Shown(region, one.piece, number, None)


def _ruled(organ: str, findings: Sequence[Finding], grid: Geometry, constants: Calibration) -> Iterator[_Shown]:
    for finding in findings:
        probability = constants.findings.get(finding.rule, 0.0)
        if probability >= constants.least_probability:
            mask = finding.region
            k, j, i = (float(axis.mean()) + c for axis, c in zip(np.nonzero(mask.voxels), mask.corner, strict=True))
            region = Region(
                organ,
                Cause.PRIOR,
                mask.corner,
                (mask.voxels.shape[0], mask.voxels.shape[1], mask.voxels.shape[2]),
                (k, j, i),
                mask.count * grid.voxel_volume_mm3,
                probability,
                rule=finding.rule,
                message=finding.message,
            )
            yield _Shown(region, None, 0, mask)


def _heat(shown: Sequence[_Shown], grid: Geometry, constants: Calibration) -> Boxed:
    """floor(255 P) of the most probable region at every voxel, each grown by a box; at least 1 where any is."""
    if not shown:
        return Boxed((0, 0, 0), np.zeros((0, 0, 0), np.uint8))
    grow = radii(_spacing(grid), constants.grow_mm)
    corners = np.array([one.region.corner for one in shown])
    ends = corners + [one.region.size for one in shown]
    low = np.maximum(corners.min(axis=0) - grow, 0)
    high = np.minimum(ends.max(axis=0) + grow, grid.array_shape)
    heat, corner = np.zeros(high - low, np.uint8), (int(low[0]), int(low[1]), int(low[2]))
    for one in shown:
        if one.finding is not None:
            stored = np.array([_stored(one.region)], np.uint8)
            runs = labelled_runs(one.finding.voxels)
            paint(heat, corner, runs, one.finding.corner, np.repeat(stored, max(1, runs.count)), grow)
    pieces = {id(one.piece): one.piece for one in shown if one.piece}
    for key, piece in pieces.items():
        by_component = np.zeros(piece.runs.count, np.uint8)
        for one in shown:
            if id(one.piece) == key:
                by_component[one.number] = _stored(one.region)
        paint(heat, corner, piece.runs, piece.corner, by_component, grow)
    return Boxed(corner, heat)


def _stored(region: Region) -> int:
    return max(1, floor(255 * region.probability))


def _score(organ: str, heat: Boxed, regions: Sequence[Region], grid: Geometry) -> OrganScore:
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
        expected_error_mm3=sum(region.expected_mm3 for region in regions),
    )


def _whole(trimmed: Trimmed, grid: Geometry) -> Words:
    words = bitplanes.empty(grid.array_shape)
    trimmed.add_to(words)
    return words


def _spacing(grid: Geometry) -> tuple[float, float, float]:
    i, j, k = grid.spacing_mm
    return k, j, i


CALIBRATED = Profile(
    name="calibrated",
    version=f"2.{catalog.VERSION}.{calibration.digest()}",
    description="Regions where the label is probably wrong, each with a calibrated probability: doubt of the ensemble, "
    "overlap and anatomical rules, in mm; heat and priority compare between cases.",
    attend=attend,
    reads_ct=True,
    priority=expected_error_mm3,
    urgency=lambda score: score.expected_error_mm3,
)
