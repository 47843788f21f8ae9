"""The experiment of the loop in miniature: it runs, it goes on, and it counts as it says."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.experiment import ensembles
from benchmarks.experiment.campaign import State
from benchmarks.experiment.results import Interval, gain, markdown, summary
from benchmarks.reviewing import review_minutes
from services.scheduler.acquisition import ORDERS
from services.scheduler.acquisition.cost import Work


def run(work: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.experiment", "--size", "tiny", "--seeds", "1", "--work", str(work)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    plotted = [*command, "--plot", str(work / "curves.png")]
    return subprocess.run(plotted, capture_output=True, text=True, check=True, env=environment)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture(scope="module")
def output(work: Path) -> str:
    return run(work).stdout


def test_the_last_line_holds_every_acquisition_function(output: str) -> None:
    found = json.loads(output.splitlines()[-1])
    assert set(found) == set(ORDERS)
    for strategy, of in found.items():
        assert len(of["mean_dsc"]) == len(of["networks_dsc"]) == len(of["reviewed_share"]) == 2
        assert of["mean_dsc"][0] == found["random"]["mean_dsc"][0], "all begin alike"
        assert (of["gain_over_random"]["mean"] == 0) or strategy != "random"


def test_what_is_reviewed_is_repaired(output: str) -> None:
    """One volume of three is given to a reviewer, and the labels are better for it."""
    of = json.loads(output.splitlines()[-1])["priority"]
    assert of["reviewed_share"] == [0.0, pytest.approx(1 / 3, abs=1e-4)]
    assert of["mean_dsc"][1] > of["mean_dsc"][0]


def test_a_second_run_takes_up_what_is_there(output: str, work: Path) -> None:
    kept = {path: path.stat().st_mtime_ns for path in work.rglob("*.*") if path.suffix in (".json", ".pt", ".npz")}
    assert run(work).stdout == output
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (work / "curves.png").stat().st_size > 10_000


def test_the_interval_is_students() -> None:
    """Differences of 1, 2 and 3: mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.303."""
    found = Interval.of([1.0, 2.0, 3.0])
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - 2.4843, 2 + 2.4843), abs=1e-3)
    assert math.isnan(Interval.of([1.0]).low)


def state(labels: float, reviewed: int = 0) -> State:
    repaired = {f"v{number}": ["liver"] for number in range(reviewed)}
    return State(labels, labels / 2, 1, 6.0 * reviewed, repaired, {}, {}, {})


def test_a_gain_is_paired_by_campaign() -> None:
    """Both campaigns gain 0.1 over their own draw by lot, whatever lies between the campaigns."""
    runs = {
        "priority": [[state(0.5), state(0.7, 2)], [state(0.2), state(0.4, 2)]],
        "random": [[state(0.5), state(0.6, 2)], [state(0.2), state(0.3, 2)]],
    }
    found = gain(runs, "priority", "labels_dsc", -1)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert summary(runs, 8)["priority"]["reviewed_share"] == [0.0, 0.25]
    assert summary(runs, 8)["priority"]["minutes_of_review"] == [0.0, 12.0]
    assert "+10.00 (+10.00 to +10.00)" in markdown(runs, 8)
    assert "| 0 · 12 |" in markdown(runs, 8)


def test_repaired_organs_are_right_and_absent_ones_do_not_count() -> None:
    scores = {"a": {"liver": 0.5, "spleen": math.nan}, "b": {"liver": 0.9, "spleen": 0.0}}
    assert ensembles.mean(scores, {"b": ["spleen"]}) == pytest.approx((0.5 + 0.9 + 1.0) / 3)


def test_the_scripts_clock() -> None:
    assert review_minutes(Work(organs=2, regions=4)) == 9.0
