"""Cases of synthetic patients, whose truth is known everywhere."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from services.serving.training.cache import CaseCache, Entry
from services.serving.training.case import Case
from services.synthetic import make_case
from services.synthetic.tissues import ORGAN_TISSUES

TRAINING_SEEDS, HELD_OUT_SEEDS = 1000, range(900, 908)
"""Training draws from the first on; the others nothing is ever trained on."""
_VERSION = 1
"""Raise it when the generator draws other voxels for the same seed."""


def entries(seeds: Sequence[int]) -> list[Entry]:
    """One case a seed, drawn on the demonstration networks' working grid of 3 mm."""
    organs = tuple(ORGAN_TISSUES)
    return [Entry(f"synthetic-{_VERSION}-{seed:07d}", organs, partial(_drawn, seed)) for seed in seeds]


def draw(cache: CaseCache, cases: Sequence[Entry], workers: int) -> None:
    """Put all cases into the cache beforehand, in as many processes."""
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_fill, cache), cases, chunksize=4):
            pass


def _fill(cache: CaseCache, entry: Entry) -> None:
    cache.get(entry)


def _drawn(seed: int) -> Case:
    case = make_case(seed, profile="training")
    return Case.of(f"synthetic patient {seed}", case.ct, {o: np.asarray(m) for o, m in case.masks.items()})
