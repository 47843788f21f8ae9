"""The benchmark of labels on a small case: every contender runs, and what must be equal is."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.labels import __main__ as benchmark
from benchmarks.labels import case as cases
from benchmarks.labels import measure
from benchmarks.labels.case import MODELS, NETWORKS, ORGANS, SMOOTH, Case
from services.core import arrayfile
from services.core.geometry import Geometry

LEFT_OUT = {"ours-1500", f"monai-{NETWORKS}", f"nnunet-{NETWORKS}"}
STEPS = [(step, who) for step, contenders in benchmark._STEPS.items() for who in contenders if who not in LEFT_OUT]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Nine ellipsoids on a coarse grid, with the probabilities of the "smooth" models for those of networks too."""
    folder = tmp_path_factory.mktemp("case")
    matrix = np.diag([-4.0, -4.0, 5.0, 1.0])
    matrix[:3, 3] = 95, 75, -100
    geometry = Geometry.from_matrix((48, 40, 36), matrix)
    (folder / "geometry.json").write_text(geometry.to_json())
    rng = np.random.default_rng(0)
    np.save(folder / "ct.npy", rng.integers(-1000, 1000, geometry.array_shape).astype(np.int16))
    z, y, x = np.ogrid[:36, :40, :48]
    masks = []
    for number in range(len(ORGANS)):
        k, j, i = 8 + 10 * (number // 3 % 3), 10 + 9 * (number % 3), 12 + 12 * (number % 3)
        masks.append((((z - k) / 4) ** 2 + ((y - j) / 5) ** 2 + ((x - i) / 6) ** 2 <= 1).astype(np.uint8))
    (folder / "truth.b2nd").write_bytes(arrayfile.encode(ORGANS, masks, geometry))
    case = Case(folder)
    cases._reader(case)
    cases._smooth(case)
    for model in MODELS:
        (folder / f"{NETWORKS}-{model}.b2nd").write_bytes((folder / f"{SMOOTH}-{model}.b2nd").read_bytes())
    return case


@pytest.fixture(scope="module")
def found(case: Case) -> dict[str, Any]:
    """What was measured of every contender."""
    measure._SECONDS = 0.0
    return {
        f"{step}/{who}": measure.measured(importlib.import_module(f"benchmarks.labels.{step}").CONTENDERS[who], case)
        for step, who in STEPS
    }


def test_everything_that_must_be_equal_is(found: dict[str, Any]) -> None:
    assert benchmark._equal(found)
    assert found[f"inverse/ours-{SMOOTH}"]["labelled"] > 1000
    for other in ("monai", "nnunet"):
        assert found[f"inverse/{other}-{SMOOTH}"]["differing"] < 0.02
    assert found["chain/ours"]["mean_dsc"] > 0.8


def test_a_difference_is_seen(found: dict[str, Any]) -> None:
    """Each of the things that are compared makes the whole unequal if it differs."""
    changes: dict[str, dict[str, Any]] = {
        "files/write_ours": {"digest": "other"},
        "components/ours": {"digest": "other"},
        "inverse/ours-networks": {"equal": False},
        "resampling/ours": {"largest_difference_hu": 2},
        "agreement/ours": {"scores": [(0.5, 0.5)] * len(ORGANS)},
        "chain/ours": {"mean_dsc": 0.5},
    }
    for name, change in changes.items():
        assert not benchmark._equal({**found, name: {**found[name], **change}}), name


def test_the_summary_has_every_ratio(found: dict[str, Any]) -> None:
    summary = benchmark._summary(found)
    assert {
        "inverse_vs_monai", "inverse_vs_nnunet", "inverse_extra_mb", "resample_vs_monai", "components_vs_cc3d",
        "metrics_vs_surface_distance", "read_ratio", "write_ratio", "labels_write_ratio", "chain_ratio",
        "chain_peak_mb", "equal",
    } <= set(summary)  # fmt: skip
    slower = {**found, "resampling/ours": {**found["resampling/ours"], "seconds": 1e9}}
    assert benchmark._summary(slower)["resample_vs_monai"] < summary["resample_vs_monai"]


def test_a_case_that_lies_there_is_not_made_again(case: Case, tmp_path: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in case.folder.iterdir() if path.is_file()}
    cases.prepare(case.folder, tmp_path)
    assert {name: (case.folder / name).stat().st_mtime_ns for name in before} == before
