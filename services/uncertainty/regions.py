"""From bit planes of doubt to connected regions, each with a place, a volume and the evidence against the label."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log, log1p, log10

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Boxed, Corner, Mask, Region
from services.core.components import Runs
from services.core.ensemble import Stack
from services.core.geometry import Geometry
from services.uncertainty import region_sums, tissue
from services.uncertainty.attention import Cause
from services.uncertainty.bitplanes import Words
from services.uncertainty.calibration import Calibration
from services.uncertainty.morphology import Radii, opened
from services.uncertainty.region_sums import Planes, Sums
from services.uncertainty.runs import clear_marked, runs_of
from services.uncertainty.tissue import Tissue, TissueSums

_SOFTLY_HU = 8.0
"""Differences of HU below it tell little."""
_NEAR_MM = 10.0
"""Differences between gaps below it tell little."""


@dataclass(frozen=True)
class Piece:
    """The runs of some regions of one organ and cause, in a box at `corner`, and their features."""

    cause: Cause
    corner: Corner
    runs: Runs
    sums: Sums
    features: tuple[Mapping[str, float], ...]

    def touched(self, mask: Boxed) -> npt.NDArray[np.bool_]:
        """By region, whether a mask of the grid holds any voxel of it."""
        touched = np.zeros(self.runs.count, np.bool_)
        runs, voxels = self.runs, np.ascontiguousarray(mask.voxels)
        _touch(
            touched, voxels, mask.corner, runs.height, runs.rows, runs.begin, runs.end, runs.component, self.corner
        )  # fmt: skip
        return touched


def set_aside(weak: Words, strong: Words, radii: Radii) -> Words:
    """Bits of the candidate regions of one side of the border: where doubt is strong, else where there is any.

    A thick part of weak doubt counts only as far as no thick part of strong doubt lies in it.
    """
    weak, strong = opened(weak, radii), opened(strong, radii)
    if strong.any():
        clear_marked(weak, runs_of(weak), strong)
        weak |= strong
    return weak


def crowd(words: Words, least_voxels: float) -> int:
    """How many regions of a bit plane have at least so many voxels: where there are many, each means less."""
    runs = runs_of(words)
    sizes = np.bincount(runs.component, runs.end.astype(np.int64) - runs.begin, minlength=1)
    return int(np.count_nonzero(sizes >= max(least_voxels, 1)))


@dataclass(frozen=True)
class Around:
    """What the regions of one organ are measured against: bit planes of one box, and facts about the organ's label.

    The box is as `Planes` wants it; `corner` is its first voxel.
    """

    grid: Geometry
    corner: Corner
    label: Words
    others: Words
    found: Words
    label_box: Region
    """Where the label lies in the grid; of no voxels if it is empty."""
    label_voxels: int
    band_mm: float
    crowd: int
    """Candidate regions on both sides of the label's border, see `crowd`."""
    mean_crowd: float
    """The mean of that over the organs that have a label."""
    tissue: Tissue | None = None
    """How the organ looks in the CT, if there is one."""
    tissue_crowd: int = 0
    """Regions that the CT speaks against, see `crowd`."""


def measured(cause: Cause, own: Words, values: Stack, around: Around, calibration: Calibration) -> Piece:
    """The regions of a bit plane and their features; `values` are the probabilities (model, voxel) of its bits.

    Their features lack `log_rank`, which depends on the organ's other regions.
    """
    runs, width = runs_of(own), around.grid.shape[0] - around.corner[2]
    sums = region_sums.sums(
        runs,
        Planes(around.corner, width, own, around.label, around.others, around.found),
        values,
        inside=cause.sign <= 0,
        core=calibration.core_sum(len(values)),
    )
    features = _features(cause, sums, len(values), around)
    if around.tissue is None:
        return Piece(cause, around.corner, runs, sums, tuple(features))
    spacing = around.grid.spacing_mm
    seen = tissue.sums(runs, own, around.label, around.tissue, spacing[::-1], calibration.tissue)
    looks = _looks(cause, sums, seen, around)
    return Piece(
        cause, around.corner, runs, sums, tuple({**one, **more} for one, more in zip(features, looks, strict=True))
    )


def _features(cause: Cause, sums: Sums, models: int, around: Around) -> Iterator[dict[str, float]]:
    voxel, full = around.grid.voxel_volume_mm3, 255 * models
    areas = np.array([voxel / spacing for spacing in around.grid.spacing_mm[::-1]])
    kept_mm2, other_mm2 = sums.kept_faces @ areas, sums.other_faces @ areas
    gaps = _gaps_mm(sums, around)
    for number, count in enumerate(map(int, sums.voxels)):
        kept, surface = float(kept_mm2[number]), float(kept_mm2[number] + other_mm2[number])
        contact, foreign = kept / surface if surface else 0.0, int(sums.foreign[number]) / count
        entropy = int(sums.entropy[number])
        yield {
            "log_ml": log10(count * voxel / 1000),
            "flip": int(sums.flip[number]) / (count * full),
            "disagreement": int(sums.information[number]) / (models * entropy) if entropy else 0.0,
            "log_depth": log(count * voxel / max(surface, 1.0)),
            "log_band": log(max(around.band_mm, 0.5)),
            "contact_add": contact * (cause.sign > 0),
            "contact_remove": contact * (cause.sign < 0),
            "contact_overlap": contact * (cause is Cause.OVERLAP),
            "add": float(cause.sign > 0),
            "overlap": float(cause is Cause.OVERLAP),
            "foreign_add": foreign * (cause.sign > 0),
            "foreign_remove": foreign * (cause.sign < 0),
            "core": int(sums.core[number]) / count,
            "log_share": log10(count / max(around.label_voxels, count)),
            "log_gap": log1p(gaps[number] / _NEAR_MM),
            "found": float(sums.found[number] > 0),
            "log_crowd": log(max(1, around.crowd)),
            "log_case_crowd": log(max(1.0, around.mean_crowd)),
        }


def _gaps_mm(sums: Sums, around: Around) -> npt.NDArray[np.float64]:
    """By region, the distance between its box and the label's; 0 if they meet or there is no label."""
    if not around.label_voxels:
        return np.zeros(len(sums.voxels))
    start, stop = (np.array([getattr(part, end) for part in around.label_box]) for end in ("start", "stop"))
    between = np.maximum(0, np.maximum(sums.first - stop, start - 1 - sums.last))
    return np.asarray(np.linalg.norm(between * np.array(around.grid.spacing_mm[::-1]), axis=1), np.float64)


def _looks(cause: Cause, sums: Sums, seen: TissueSums, around: Around) -> Iterator[dict[str, float]]:
    """Positive where the CT speaks against the label, and what that is worth in this organ."""
    assert around.tissue is not None
    for number, count in enumerate(map(int, sums.voxels)):
        own = int(seen.hu[number]) / count
        label, outer = int(seen.label_count[number]), int(seen.outer_count[number])
        side = 0.0
        if label and outer:
            to_label = abs(own - int(seen.label_hu[number]) / label)
            to_outer = abs(own - int(seen.outer_hu[number]) / outer)
            side = (to_outer - to_label) / (to_outer + to_label + _SOFTLY_HU)
        yield {
            "evidence": cause.sign * int(seen.evidence[number]) / (count * tissue.UNIT),
            "side": cause.sign * side,
            "likeness": around.tissue.likeness,
            "odd": around.tissue.odd,
            "log_tissue_crowd": log(max(1, around.tissue_crowd)),
        }


@njit(nogil=True, cache=True)
def _touch(touched, mask, at, height, rows, begin, end, component, corner):  # type: ignore[no-untyped-def]
    for row in range(len(rows) - 1):
        k, j = corner[0] + row // height - at[0], corner[1] + row % height - at[1]
        if not (0 <= k < mask.shape[0] and 0 <= j < mask.shape[1]):
            continue
        for run in range(rows[row], rows[row + 1]):
            first = max(0, corner[2] + begin[run] - at[2])
            last = min(mask.shape[2], corner[2] + end[run] - at[2])
            for i in range(first, last):
                if mask[k, j, i]:
                    touched[component[run]] = True
                    break


def paint(heat: Mask, heat_corner: Corner, runs: Runs, corner: Corner, stored: Mask, radii: Corner) -> None:
    """Raise the heat in a box at `heat_corner` to `stored[c]` over component c of some runs, grown by a box of radii.

    Components of which `stored` is 0 are left out.
    """
    _paint(
        heat, heat_corner, runs.height, runs.rows, runs.begin, runs.end, runs.component, corner, stored, radii
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _paint(heat, at, height, rows, begin, end, component, corner, stored, radii):  # type: ignore[no-untyped-def]
    for row in range(len(rows) - 1):
        k, j = corner[0] + row // height - at[0], corner[1] + row % height - at[1]
        for run in range(rows[row], rows[row + 1]):
            value = stored[component[run]]
            if value == 0:
                continue
            first = max(0, corner[2] + begin[run] - at[2] - radii[2])
            last = min(heat.shape[2], corner[2] + end[run] - at[2] + radii[2])
            for other_k in range(max(0, k - radii[0]), min(heat.shape[0], k + radii[0] + 1)):
                for other_j in range(max(0, j - radii[1]), min(heat.shape[1], j + radii[1] + 1)):
                    target = heat[other_k, other_j]
                    for i in range(first, last):
                        target[i] = max(target[i], value)
