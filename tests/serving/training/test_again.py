"""The same training asked for again: what was trained is found, judged anew where it must be, and never mistaken."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from services.core import modelversions
from services.serving.card import load_version
from services.serving.repository import folder_config
from services.serving.training.loop import Budget
from tests.serving.training.boxes import plan, trained, weights


def test_the_same_weights_are_judged_anew(home: Path) -> None:
    """By another margin, and against another version that is served; never trained again, and promoted when asked."""
    folder = home / "small"
    trained(plan(home))
    # At this rate one step learns nothing.
    worse = plan(home, seed=3, rate=1e-9, budget=Budget(1, None, 1, 1))
    first = trained(worse)
    assert (first.version, first.promoted) == (2, False)
    lenient = replace(worse, margin=1.0, promotes=True)
    result = trained(lenient)
    assert (result.version, result.promoted) == (3, True)
    assert torch.equal(weights(folder, 3), weights(folder, 2))
    assert modelversions.served_in(folder) == (1, 3)
    assert json.loads((folder / "3" / "comparison.json").read_text())["margin"] == 1.0
    assert trained(lenient) == result
    other = trained(plan(home, seed=4, rate=1e-9, budget=Budget(1, None, 1, 1), margin=1.0, promotes=True))
    assert (other.version, modelversions.served_in(folder)) == (4, (3, 4))
    again = trained(lenient)
    assert (again.version, modelversions.served_in(folder)) == (5, (4, 5))
    assert json.loads((folder / "5" / "comparison.json").read_text())["served"] == 4
    assert len(list((home / "runs").iterdir())) == 3


def test_what_was_promoted_is_not_trained_again(home: Path) -> None:
    """The same again finds that the version which is served came of it; another seed goes on from there."""
    folder = home / "small"
    trained(plan(home))
    modelversions.write_config(folder, folder_config(folder))
    few = Budget(1, None, 1, 1)
    tuned = plan(home, goes_on=True, seed=2, rate=1e-9, budget=few, margin=1.0, promotes=True)
    result = trained(tuned)
    assert (result.version, result.promoted, modelversions.served_in(folder)) == (2, True, (1, 2))
    assert trained(tuned) == result
    assert modelversions.numbers(folder) == [1, 2]
    other = trained(replace(tuned, seed=3))
    assert (load_version(folder, other.version).trained_on or {})["from_version"] == 2
    assert trained(replace(tuned, seed=3)) == other
    assert modelversions.numbers(folder) == [1, 2, 3]


def test_a_training_without_notes_is_found(home: Path) -> None:
    """Earlier releases wrote none down."""
    trained(plan(home))
    tuned = plan(home, seed=2, budget=Budget(1, None, 1, 1))
    result = trained(tuned)
    for path in (home / "runs").glob("*/done.json"):
        done = json.loads(path.read_text())
        del done["notes"], done["weights_sha256"]
        path.write_text(json.dumps(done))
    assert trained(tuned) == result


def test_another_runs_weights_under_the_same_number_are_not_its_own(home: Path) -> None:
    """A version that was removed gave its number to another run, which is not what the first one trained."""
    folder = home / "small"
    trained(plan(home))
    first, second = (plan(home, seed=seed, budget=Budget(1, None, 1, 1)) for seed in (2, 3))
    assert trained(first).version == 2
    own = weights(folder, 2)
    shutil.rmtree(folder / "2")
    assert trained(second).version == 2
    assert trained(first).version == 3
    assert torch.equal(weights(folder, 3), own)
    assert trained(second).version == 2


def test_a_version_that_was_replaced_is_not_the_run_that_made_it(home: Path) -> None:
    folder, few = home / "small", Budget(1, None, 1, 1)
    trained(plan(home, budget=few))
    own = weights(folder)
    trained(plan(home, budget=few, replaces=True, seed=2))
    assert trained(plan(home, budget=few)).version == 2
    assert torch.equal(weights(folder, 2), own)
