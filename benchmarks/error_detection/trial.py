"""One case through all methods, and what comes of many."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.error_detection.cases import LabelCase
from benchmarks.error_detection.curves import Scored
from benchmarks.error_detection.judging import Counts, Tally, errors_of, judge
from benchmarks.error_detection.methods import METHODS, PROFILES, Marks, marks
from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.scheduler.acquisition import Candidate

from scipy import ndimage  # isort: skip


@dataclass
class Trial:
    """The tallies of all methods, the cases for the curves, and (probability, right) of the calibrated regions."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {method: Tally() for method in METHODS})
    scored: list[Scored] = field(default_factory=list)
    reliability: list[tuple[float, bool]] = field(default_factory=list)

    def add(self, case: LabelCase, predictions: list[bytes], seed: int) -> None:
        """Judge one case, given its models' array files."""
        ensemble = Ensemble(tuple(arrayfile.decode(data) for data in predictions))
        organs = [organ for organ in case.truth if organ in ensemble.organs]
        counts: dict[str, dict[str, Counts]] = {method: {} for method in METHODS}
        attention = {name: _Sums() for name in PROFILES}
        dsc: list[float] = []
        for organ, marked in marks(ensemble, organs, case.ct, seed):
            truth = case.truth[organ]
            errors = errors_of(marked.label, truth, case.geometry)
            for method in METHODS:
                counts[method][organ] = judge(errors, marked.attention[method], case.geometry)
            for name in PROFILES:
                attention[name].add(organ, marked, name, case.geometry)
            self.reliability += _reliability(marked, errors.regions > 0)
            if truth.any():
                both = np.count_nonzero(marked.label & truth)
                dsc.append(2 * both / (np.count_nonzero(marked.label) + np.count_nonzero(truth)))
        for method in METHODS:
            self.tallies[method].add(counts[method])
        self.scored.append(Scored({name: attention[name].candidate(case) for name in PROFILES}, dsc))


class _Sums:
    """What a campaign would know about a case from its attention map."""

    def __init__(self) -> None:
        self.voxels = 0
        self.mm3 = 0.0
        self.expected_mm3 = 0.0
        self.organs_mm3: dict[str, float] = {}

    def add(self, organ: str, marked: Marks, profile: str, geometry: Geometry) -> None:
        voxel = geometry.voxel_volume_mm3
        count = np.count_nonzero(marked.attention[profile])
        self.voxels += count
        self.mm3 += count * voxel
        self.expected_mm3 += float(marked.heat.sum()) / 255 * voxel if profile == "calibrated" else count * voxel
        self.organs_mm3[organ] = np.count_nonzero(marked.label) * voxel

    def candidate(self, case: LabelCase) -> Candidate:
        spacing = case.geometry.spacing_mm
        extent = tuple(n * s for n, s in zip(case.geometry.shape, spacing, strict=True))
        hu = () if case.ct is None else tuple(float(v) for v in np.percentile(case.ct[::4, ::4, ::4], [5, 50, 95]))
        return Candidate(
            volume=case.name,
            priority=self.voxels,
            attention_mm3=self.mm3,
            expected_error_mm3=self.expected_mm3,
            organs_mm3=self.organs_mm3,
            spacing_mm=spacing,
            extent_mm=(extent[0], extent[1], extent[2]),
            hu=hu,
        )


def _reliability(marked: Marks, wrong: "np.ndarray") -> list[tuple[float, bool]]:  # type: ignore[type-arg]
    """(probability, whether it touches an error region) of each region of the calibrated attention."""
    regions, count = ndimage.label(marked.heat > 0, np.ones((3, 3, 3), bool))
    if not count:
        return []
    numbers = range(1, count + 1)
    hottest = ndimage.maximum(marked.heat, regions, numbers)
    right = ndimage.maximum(wrong, regions, numbers)
    return [(float(heat) / 255, bool(hit)) for heat, hit in zip(hottest, right, strict=True)]


def run(cases: Iterable[tuple[LabelCase, Callable[[], list[bytes]], int]], report: Callable[[str], None]) -> Trial:
    """All cases, with a line of progress each."""
    trial = Trial()
    for case, predict, seed in cases:
        trial.add(case, predict(), seed)
        report(case.name)
    return trial
