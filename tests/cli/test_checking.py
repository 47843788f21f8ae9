"""`atlas check` through real storage and uncertainty services."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.exits import Exit
from services.core.storage import Storage
from tests.cli.test_command_line import atlas
from tests.components.case import new_case
from tests.contract.service_process import launched, wait_healthy
from tests.uncertainty.ensembles import Array
from tests.uncertainty.priors.bodies import BODY, GRID, arrays, only


@dataclass(frozen=True)
class Stack:
    """Where the services answer, and two label versions of volumes/case: the first is in order, the second is not."""

    environment: dict[str, str]
    good: str
    bad: str


def masks(*, swapped: bool) -> dict[str, Array]:
    """The liver and a kidney either side."""
    found = arrays(only(BODY, "liver", "kidney_left", "kidney_right"))
    if swapped:
        found["kidney_left"], found["kidney_right"] = found["kidney_right"], found["kidney_left"]
    return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    homes = [tmp_path_factory.mktemp(name) for name in ("storage", "uncertainty")]
    with (
        launched("storage", homes[0]) as storage,
        launched("uncertainty", homes[1], storage=storage.address) as uncertainty,
    ):
        wait_healthy(storage)
        wait_healthy(uncertainty)
        case = new_case(Storage(storage.address), "case", GRID)
        new_case(Storage(storage.address), "unlabelled", GRID, seed=1)
        good = case.label(pb.ORIGIN_SOURCE, masks(swapped=False), author="archive")
        bad = case.label(pb.ORIGIN_REVISION, masks(swapped=True), author="ana")
        yield Stack({"ATLAS_STORAGE": storage.address, "ATLAS_UNCERTAINTY": uncertainty.address}, good, bad)


def test_a_good_version_is_code_0(stack: Stack, tmp_path: Path) -> None:
    shown = atlas("check", stack.good, cwd=tmp_path, **stack.environment)
    assert (shown.returncode, shown.stderr) == (Exit.DONE, "")
    assert shown.stdout.startswith(f"{stack.good} (source by archive): nothing found by ")


def test_a_finding_is_shown_and_code_6(stack: Stack, tmp_path: Path) -> None:
    """A volume without merged labels is checked in its newest ones."""
    shown = atlas("check", "case", cwd=tmp_path, **stack.environment)
    assert shown.returncode == Exit.FOUND
    heading, columns, row = shown.stdout.splitlines()
    assert heading.startswith(f"{stack.bad} (revision by ana): 1 finding by ")
    assert columns.split() == ["Severity", "Rule", "Finding", "In", "numbers", "At,", "mm"]
    assert row.split()[:2] == ["error", "sides_swapped"]
    assert "kidney_left lies 3 mm from the liver, kidney_right 125 mm: they are swapped." in row
    assert re.search(r"swapped\. +left to liver [23]\.?\d* mm, right to liver 12\d mm +R \d, P 5\d, S 19\d$", row)


def test_all_versions_as_json(stack: Stack, tmp_path: Path) -> None:
    shown = atlas("check", "volumes/case", "--all", "--json", cwd=tmp_path, **stack.environment)
    assert shown.returncode == Exit.FOUND
    good, bad = json.loads(shown.stdout)
    assert (good["label_version"], good["findings"]) == (stack.good, [])
    (finding,) = bad["findings"]
    assert (finding["rule"], finding["severity"]) == ("sides_swapped", "SEVERITY_ERROR")
    assert finding["evidence"][0] == {"name": "left_to_liver_mm", "value": pytest.approx(3, abs=0.5)}
    # From R -86 to 88, A -74 to -26 and S 140 to 245 mm, as voxels of 3 mm.
    assert finding["box"]["first"] == pytest.approx([21, 10, 46], abs=1)
    assert finding["box"]["size"] == pytest.approx([58, 16, 35], abs=1)
    assert finding["centre_mm"] == pytest.approx([1, -50, 192.5], abs=1.5)


def test_only_some_rules(stack: Stack, tmp_path: Path) -> None:
    shown = atlas("check", stack.bad, "--rule", "leak", "--rule", "hollow", cwd=tmp_path, **stack.environment)
    assert shown.returncode == Exit.DONE
    assert "nothing found by 2 rules" in shown.stdout


def test_the_rules_are_listed(stack: Stack, tmp_path: Path) -> None:
    shown = atlas("check", "--rules", cwd=tmp_path, **stack.environment)
    assert shown.returncode == Exit.DONE
    assert "sides_swapped" in shown.stdout
    listed = json.loads(atlas("check", "--rules", "--json", cwd=tmp_path, **stack.environment).stdout)
    assert {"name", "severity", "description", "threshold", "source"} == set(listed[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "volumes/nobody"),
        (["unlabelled"], "This volume has no labels."),
        (["../x"], "is not an id"),
        ([], "An id is required."),
        (["volumes/case/labels/.."], "is not an id"),
        (["case", "--rule", "parrot"], "There is no rule 'parrot'. Known: sides_swapped, "),
    ],
)
def test_what_cannot_be_checked_is_refused(stack: Stack, tmp_path: Path, words: list[str], said: str) -> None:
    shown = atlas("check", *words, cwd=tmp_path, **stack.environment)
    assert shown.returncode == Exit.REFUSED
    assert said in shown.stderr
    assert shown.stdout == ""
