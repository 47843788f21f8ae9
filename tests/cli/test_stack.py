"""The whole stack on this machine, through the command: up, a campaign with a review, killed processes, down."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import psutil
import pytest

from services.cli.stack.state import Endpoint, StateFolder
from services.core.nifti import read_mask, write_mask
from tests.cli.test_command_line import atlas
from tests.components import triton as component
from tests.components.require import require

nib: Any = nibabel
PROCESSES = {"storage", "triton", "inference", "uncertainty", "merging", "scheduler"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a running stack in `.atlas` and two cases in `cases`."""
    require(component.is_installed(), "Triton is not installed: pip install --no-deps nvidia-pytriton==0.7.0")
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(component.MODELS, home / "models", ignore=shutil.ignore_patterns("__pycache__"))
    for name, peak in (("one", 160.0), ("two", 120.0)):
        save_case(home / "cases" / name, peak)
    started = atlas("up", "--detach", "--models", "models", cwd=home)
    try:
        assert started.returncode == 0, started.stderr
        yield home
    finally:
        atlas("down", cwd=home)


def save_case(folder: Path, peak_hu: float) -> None:
    """A soft ball whose HU fall off to the outside, and a spleen that its source found."""
    (folder / "segmentations").mkdir(parents=True)
    i, j, k = np.indices((36, 32, 24))
    distance = np.sqrt((i - 18) ** 2 + (j - 16) ** 2 + (k - 12) ** 2)
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image((peak_hu - 18 * distance).astype(np.int16), affine), folder / "ct.nii.gz")
    nib.save(nib.Nifti1Image((distance < 3).astype(np.uint8), affine), folder / "segmentations" / "spleen.nii.gz")


def endpoints(home: Path) -> dict[str, Endpoint]:
    """The stack's processes, as the commands find them."""
    found = StateFolder(home / ".atlas").read()
    return {e.name: e for e in found.endpoints} if found else {}


def pids(home: Path) -> dict[str, int]:
    return {name: e.process.pid for name, e in endpoints(home).items() if e.process}


def until(read: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not read():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)


def as_json(home: Path, *words: str) -> Any:
    shown = atlas(*words, "--json", cwd=home)
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_a_second_stack_on_the_same_state_is_refused(home: Path) -> None:
    shown = atlas("up", "--models", "models", cwd=home)
    assert shown.returncode == 4
    assert "A stack already runs on this state folder" in shown.stderr
    assert "`atlas down`" in shown.stderr
    status = as_json(home, "status")
    assert status["ready"]
    assert {e["name"] for e in status["endpoints"]} == PROCESSES


def test_a_campaign_from_import_to_release(home: Path) -> None:
    as_json(home, "import", "cases", "--dataset", "balls", "--licence", "CC0-1.0")
    created = as_json(home, "campaign", "create", "first", "--all", "--review-share", "0.5")
    again = as_json(home, "campaign", "create", "first", "--all", "--review-share", "0.5")
    assert created["create_time"] == again["create_time"]
    watched = atlas("campaign", "watch", "first", "--json", cwd=home)
    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["kind"] == "KIND_RANKED"

    (review,) = as_json(home, "review", "list", "--open")
    claimed = as_json(home, "review", "claim", review["name"], "--reviewer", "Dr. A", "--to", "claim")
    assert claimed["fencing_token"] == 1
    assert atlas("review", "claim", review["name"], "--reviewer", "Dr. B", cwd=home).returncode == 4
    assert as_json(home, "review", "renew", "claim", "--minutes", "90")["state"] == "STATE_CLAIMED"
    unchanged = atlas("review", "submit", "claim", cwd=home)
    assert unchanged.returncode == 1
    assert "--accept" in unchanged.stderr
    liver = home / "claim" / "segmentations" / "liver.nii.gz"
    mask = read_mask(liver)
    mask.voxels[5:9, 5:9, 5:9] = 1
    write_mask(liver, mask.voxels, mask.geometry, like=mask.header)
    as_json(home, "review", "submit", "claim")
    until(lambda: as_json(home, "campaign", "list")[0]["state"] == "STATE_ROUND_DONE")

    as_json(home, "export", "first", "--to", "release")
    case = next(
        home / "release" / entry["case"]
        for entry in json.loads((home / "release" / "release.json").read_text())["cases"]
        if entry["volume"] == review["volume"]
    )
    provenance = json.loads((case / "provenance.json").read_text())
    origins = {organ: facts["origin"] for organ, facts in provenance["organs"].items()}
    assert (origins["spleen"], origins["liver"], origins["aorta"]) == ("source", "revision", "ai")
    released = read_mask(case / "segmentations" / "liver.nii.gz")
    assert np.array_equal(released.voxels, mask.voxels)
    name = review["volume"].removeprefix("volumes/")
    assert (case / "ct.nii.gz").read_bytes() == (home / "cases" / name / "ct.nii.gz").read_bytes()
    source = read_mask(home / "cases" / name / "segmentations" / "spleen.nii.gz")
    assert np.array_equal(read_mask(case / "segmentations" / "spleen.nii.gz").voxels, source.voxels)
    assert not as_json(home, "export", "first", "--to", "release")["written"]

    assert atlas("report", "first", cwd=home).returncode == 0
    html = (home / "report.html").read_text()
    assert "revised by Dr. A" in html
    assert "http:" not in html


def test_work_that_comes_too_late_is_kept_under_its_author(home: Path) -> None:
    """The lease ends while the reviewer works, and somebody else claims the review."""
    as_json(home, "campaign", "create", "late", "--all", "--review-share", "0.5")
    assert atlas("campaign", "watch", "late", cwd=home).returncode == 0
    as_json(home, "review", "claim", "late/r1-1", "--reviewer", "Dr. A", "--minutes", "0.02", "--to", "late")
    liver = home / "late" / "segmentations" / "liver.nii.gz"
    mask = read_mask(liver)
    mask.voxels[5:9, 5:9, 5:9] ^= 1
    write_mask(liver, mask.voxels, mask.geometry, like=mask.header)
    until(lambda: as_json(home, "review", "list", "late")[0]["state"] == "STATE_OPEN")
    as_json(home, "review", "claim", "late/r1-1", "--reviewer", "Dr. B")
    late = atlas("review", "submit", "late", cwd=home)
    assert late.returncode == 4, late.stderr
    (review,) = as_json(home, "review", "list", "late")
    (kept,) = review["side_versions"]
    assert f"kept beside the review, as {kept}" in late.stderr
    assert (review["state"], review["reviewer"]) == ("STATE_CLAIMED", "Dr. B")
    as_json(home, "review", "submit", "late/r1-1", "--token", "2", "--accept")
    told = atlas("campaign", "watch", "late", "--json", cwd=home).stdout.splitlines()
    (event,) = [e for e in map(json.loads, told) if e["kind"] == "KIND_SIDE_VERSION_KEPT"]
    assert (event["actor"], event["resource"]) == ("Dr. A", kept)


@pytest.mark.parametrize("name", ["storage", "triton"])
def test_a_killed_process_comes_back_at_its_address(home: Path, name: str) -> None:
    before = endpoints(home)[name]
    os.kill(pids(home)[name], signal.SIGKILL)
    until(lambda: endpoints(home)[name].restarts > before.restarts and endpoints(home)[name].ready)
    assert endpoints(home)[name].address == before.address
    assert '"event": "died"' in (home / ".atlas" / "logs" / "supervisor.log").read_text()


def test_a_killed_supervisor_is_recognised_and_everything_ends(home: Path) -> None:
    old = pids(home)
    supervisor = json.loads((home / ".atlas" / "endpoints.json").read_text())["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(supervisor) or psutil.Process(supervisor).status() == psutil.STATUS_ZOMBIE)
    shown = atlas("campaign", "list", cwd=home)
    assert shown.returncode == 3
    assert "The stack's supervisor died." in shown.stderr
    told = atlas("status", cwd=home)
    assert told.returncode == 3
    assert "6 of its processes still run" in told.stderr

    again = atlas("up", "--detach", "--models", "models", cwd=home)
    assert again.returncode == 0, again.stderr
    assert not any(psutil.pid_exists(pid) for pid in old.values())
    assert "campaigns/first" in {c["name"] for c in as_json(home, "campaign", "list")}, "what was made is still there"
    new = pids(home)
    assert atlas("down", cwd=home).returncode == 0
    assert not any(psutil.pid_exists(pid) for pid in new.values())
    assert endpoints(home) == {}
