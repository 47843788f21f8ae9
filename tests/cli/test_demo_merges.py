"""The demonstration's reviewer goes on where it was cut off, and waits while decisions are merged, no longer."""

from pathlib import Path

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.demo.reviewer import NAME, _claimed, await_merges
from services.cli.reviewing import Note
from services.core.errors import AtlasError, Reason
from tests.cli.archive import CAMPAIGN, Archive


@pytest.fixture(autouse=True)
def naps(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How often it slept; whatever was to be merged is merged in the first nap."""
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        assert len(naps) < 5, "it waits for ever"
        archive.reviews[0].state = sched.Review.STATE_DONE
        archive.state = sched.Campaign.STATE_ROUND_DONE

    monkeypatch.setattr("time.sleep", sleep)
    return naps


def test_a_note_of_a_claim_that_was_cut_off_is_completed(archive: Archive, tmp_path: Path) -> None:
    """Without the CT's digest in it masks of another claim would be taken."""
    review = archive.reviews[0]
    review.state = sched.Review.STATE_CLAIMED
    Note(review.name, 7, NAME, review.volume, review.label_version).write(tmp_path)
    assert _claimed(archive.connection, review, tmp_path).fencing_token == 7
    note = Note.read(tmp_path)
    assert (note.fencing_token, note.voxel_digest) == (7, archive.records[review.volume].voxel_digest)
    assert (tmp_path / "segmentations/liver.nii.gz").is_file()


def test_a_round_that_is_done_is_not_waited_for(archive: Archive, naps: list[float]) -> None:
    await_merges(archive.connection, CAMPAIGN)
    assert not naps


def test_a_stream_that_ends_before_the_merge_is_opened_again(archive: Archive, naps: list[float]) -> None:
    archive.state = sched.Campaign.STATE_IN_REVIEW
    archive.reviews[0].state = sched.Review.STATE_SUBMITTED
    await_merges(archive.connection, CAMPAIGN)
    assert len(naps) == 1


@pytest.mark.parametrize(
    ("campaign", "review"),
    [
        (sched.Campaign.STATE_IN_REVIEW, sched.Review.STATE_OPEN),
        (sched.Campaign.STATE_CANCELLED, sched.Review.STATE_WITHDRAWN),
    ],
)
def test_a_merge_that_failed_and_a_cancelled_campaign_are_told_at_once(
    archive: Archive, naps: list[float], campaign: int, review: sched.Review.State.ValueType
) -> None:
    archive.state = campaign
    archive.reviews[0].state = review
    with pytest.raises(AtlasError) as caught:
        await_merges(archive.connection, CAMPAIGN)
    assert caught.value.reason == Reason.CAMPAIGN_STATE
    assert not naps
