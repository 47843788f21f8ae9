"""One case through all methods, and what comes of many."""

import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from benchmarks.error_detection.cases import LabelCase
from benchmarks.error_detection.curves import Scored
from benchmarks.error_detection.cuts import Cut, cuts
from benchmarks.error_detection.judging import Counts, Errors, Tally, errors_of, judge
from benchmarks.error_detection.looked import looked
from benchmarks.error_detection.methods import METHODS, PROFILES, marks
from benchmarks.error_detection.samples import Sample, samples
from benchmarks.error_detection.works import Work
from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.errors import AtlasError
from services.uncertainty.attention import OrganAttention
from services.uncertainty.profiles import find

W = TypeVar("W")
T = TypeVar("T")
WORKERS = 2


@dataclass(frozen=True)
class Outcome:
    """One case: counts by method, or cut, and organ; what acquisition sees; the candidate regions."""

    name: str
    counts: dict[str, dict[str, Counts]]
    cuts: dict[Cut, dict[str, Counts]]
    scored: Scored
    samples: list[Sample]


@dataclass(frozen=True)
class Refused:
    """Why a case could not be judged."""

    message: str


@dataclass
class Trial:
    """What came of many cases."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {method: Tally() for method in METHODS})
    cuts: dict[Cut, Tally] = field(default_factory=dict)
    scored: list[Scored] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Why cases could not be judged, a sentence each."""

    def add(self, outcome: Outcome) -> None:
        """Add one case."""
        for method, counts in outcome.counts.items():
            self.tallies[method].add(counts)
        for cut, counts in outcome.cuts.items():
            self.cuts.setdefault(cut, Tally()).add(counts)
        self.scored.append(outcome.scored)
        self.samples += outcome.samples


def judged(case: LabelCase, predictions: list[bytes], seed: int) -> Outcome:
    """One case, given its models' array files. An organ that nobody looked for, or no model has, is not judged."""
    ensemble = Ensemble(tuple(arrayfile.decode(data) for data in predictions))
    organs = [organ for organ in case.truth if organ in ensemble.organs]
    counts: dict[str, dict[str, Counts]] = {method: {} for method in METHODS}
    found: dict[str, list[OrganAttention]] = {name: [] for name in PROFILES}
    errors: dict[str, Errors] = {}
    labels_mm3: dict[str, float] = {}
    dsc: list[float] = []
    for organ, marked in marks(ensemble, organs, case.ct, seed):
        truth, voxels = case.truth[organ], int(np.count_nonzero(marked.label))
        errors[organ] = errors_of(marked.label, truth, case.geometry)
        for method in METHODS:
            counts[method][organ] = judge(errors[organ], marked.attention[method], case.geometry)
        for name in PROFILES:
            found[name].append(marked.found[name])
        labels_mm3[organ] = voxels * case.geometry.voxel_volume_mm3
        if truth.any():
            both = np.count_nonzero(marked.label & truth)
            dsc.append(float(2 * both / (voxels + np.count_nonzero(truth))))
    return Outcome(
        case.name,
        counts,
        cuts(case, ensemble, errors),
        Scored(case.name, {name: looked(case, find(name), found[name], labels_mm3) for name in PROFILES}, dsc),
        list(samples(case, ensemble, {organ: one.regions > 0 for organ, one in errors.items()})),
    )


def run(works: Iterable[Work], report: Callable[[str], None]) -> Trial:
    """All cases, with a line of progress each. A case that cannot be read is left out, and named."""
    trial = Trial()
    for outcome in in_processes(_outcome, works):
        if isinstance(outcome, Refused):
            trial.left_out.append(outcome.message)
            report(f"left out: {outcome.message}")
        else:
            trial.add(outcome)
            report(outcome.name)
    return trial


def in_processes(judge: Callable[[W], T], works: Iterable[W]) -> Iterator[T | Refused]:
    """What `judge` says of each, in their order, or the refusal; on two processes of one thread each.

    The same number of threads on any machine, because a network's probabilities depend on it in their last bits.
    """
    # What torch started in this process must not be forked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(WORKERS, os.cpu_count() or 1), context, _one_thread) as pool:
        yield from pool.map(_refused, itertools.repeat(judge), works)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _refused(judge: Callable[[W], T], work: W) -> T | Refused:
    try:
        return judge(work)
    except AtlasError as error:
        return Refused(str(error))


def _outcome(work: Work) -> Outcome:
    case, predictions = work.made()
    return judged(case, predictions, work.number)
