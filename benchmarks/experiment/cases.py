"""Synthetic patients on the networks' grid, rendered once."""

import json
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiment.sizes import ORGANS
from services.core.fingerprint import profile, tissue_mm3
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.serving.card import Card
from services.serving.training.case import Case, working_case
from services.synthetic import make_case


@dataclass(frozen=True)
class Patient:
    """`ct` int16 HU and `labels` uint8 (0, or 1 + index of the organ), both (k, j, i) on the network grid.

    `facts` are those that the scheduler keeps of a volume: spacing and extent of the scan, tissue by HU, source.
    """

    name: str
    grid: Geometry
    ct: NDArray[np.int16]
    labels: NDArray[np.uint8]
    facts: Mapping[str, Any]

    def truth(self, organ: str) -> NDArray[np.bool_]:
        """The true mask of an organ."""
        return np.asarray(self.labels == 1 + ORGANS.index(organ))

    def case(self, card: Card, organs: Collection[str] = ORGANS) -> Case:
        """What training sees of it, if somebody labelled these organs."""
        return working_case(self.name, self.ct, self.grid, {organ: self.truth(organ) for organ in organs}, card)


def patients(folder: Path, counts: Mapping[str, int], purpose: str, grid_mm: float) -> list[Patient]:
    """So many patients of each hospital; `purpose` keeps pool, gate, test and training apart."""
    return [
        patient(folder, hospital, purpose, number, grid_mm)
        for hospital, count in counts.items()
        for number in range(count)
    ]


def patient(folder: Path, hospital: str, purpose: str, number: int, grid_mm: float) -> Patient:
    """One patient, rendered if nobody has done so."""
    name = f"{purpose}-{hospital}-{number}"
    path = folder / f"{name}-{grid_mm:g}mm.npz"
    if not path.exists():
        _render(path, hospital, zlib.crc32(name.encode()), grid_mm)
    with np.load(path) as data:
        return Patient(
            name, Geometry.from_json(str(data["grid"])), data["ct"], data["labels"], json.loads(str(data["facts"]))
        )


def _render(path: Path, hospital: str, seed: int, grid_mm: float) -> None:
    case = make_case(seed, profile=hospital)
    grid = network_grid(case.geometry, grid_mm)
    labels = np.zeros(grid.array_shape, np.uint8)
    for index, organ in enumerate(ORGANS):
        # A factor keeps the rounding of int16 interpolation away from the threshold.
        labels[to_grid(case.masks[organ].astype(np.int16) * np.int16(1000), case.geometry, grid) >= 500] = index + 1
    tissue = tissue_mm3(profile(case.ct, case.geometry))
    facts = {
        "spacing_mm": case.geometry.spacing_mm,
        "extent_mm": [n * mm for n, mm in zip(case.geometry.shape, case.geometry.spacing_mm, strict=True)],
        "hu": [mm3 / sum(tissue) for mm3 in tissue],
        "source": hospital,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes may race for one patient.
    part = path.with_suffix(f".{os.getpid()}.npz")
    ct = to_grid(case.ct, case.geometry, grid)
    np.savez_compressed(part, ct=ct, labels=labels, grid=grid.to_json(), facts=json.dumps(facts))
    part.replace(path)
