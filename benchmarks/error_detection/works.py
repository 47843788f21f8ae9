"""What is judged: cases, each with what an ensemble predicts, made one by one in whatever process has time."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.error_detection import folders, networks
from benchmarks.error_detection.cases import LabelCase, deformed
from benchmarks.error_detection.ensembles import STYLES, predict
from benchmarks.error_detection.folders import CaseFiles
from benchmarks.error_detection.planting import plant
from services.core import arrayfile


class Work(Protocol):
    """One case to judge; pickles into another process."""

    @property
    def number(self) -> int:
        """Its number among the cases of its kind, which seeds what is drawn for it."""

    def made(self) -> tuple[LabelCase, list[bytes]]:
        """The case and one array file of probabilities a model. Raises AtlasError for a case that cannot be read."""


@dataclass(frozen=True)
class Planting:
    """A case with 0 to 5 planted errors; the styles of ensembles take turns."""

    number: int
    case: Callable[[], LabelCase]
    models: int

    @property
    def style(self) -> str:
        """The name of its ensemble's style."""
        return list(STYLES)[self.number % len(STYLES)]

    def made(self) -> tuple[LabelCase, list[bytes]]:
        """See `Work`."""
        case = self.case()
        rng = np.random.default_rng([self.number, 5])
        k, j, i = case.geometry.spacing_mm[::-1]
        errors = plant(rng, case.truth, (k, j, i), models=self.models, errors=int(rng.integers(0, 6)))
        predictions = predict(rng, case, errors, STYLES[self.style], self.models)
        return case, [arrayfile.encode(list(one), list(one.values()), case.geometry) for one in predictions]


@dataclass(frozen=True)
class Predicting:
    """A case with a CT as the networks of a Triton repository predict it."""

    number: int
    case: Callable[[], LabelCase]
    models: Path

    def made(self) -> tuple[LabelCase, list[bytes]]:
        """See `Work`."""
        case = self.case()
        assert case.ct is not None
        return case, networks.predicted(self.models, case.ct, case.geometry)


def plantings(cases: Iterator[Callable[[], LabelCase]], count: int, models: int) -> Iterator[Planting]:
    """The first `count` cases."""
    for number, case in enumerate(itertools.islice(cases, count)):
        yield Planting(number, case, models)


def predictings(cases: Iterator[Callable[[], LabelCase]], count: int, models: Path) -> Iterator[Predicting]:
    """The first `count` cases."""
    for number, case in enumerate(itertools.islice(cases, count)):
        yield Predicting(number, case, models)


def seeded(draw: Callable[[int], LabelCase], first: int) -> Iterator[Callable[[], LabelCase]]:
    """The cases that a function draws by seeds from `first` on."""
    for seed in itertools.count(first):
        yield partial(draw, seed)


def repeated(files: Sequence[CaseFiles]) -> Iterator[Callable[[], LabelCase]]:
    """The cases of a folder as they are, then bent at random, again and again."""
    for one in files:
        yield partial(folders.read, one)
    for seed in itertools.count():
        yield partial(_bent, files[seed % len(files)], seed)


def _bent(files: CaseFiles, seed: int) -> LabelCase:
    return deformed(folders.read(files), seed)
