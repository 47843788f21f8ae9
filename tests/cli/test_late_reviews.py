"""Work that comes too late for its claim is kept, under the name of whoever did it: `atlas review` by its words."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner, Result

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.finding_pb2 import SEVERITY_ERROR, Evidence, Finding
from services.cli.commands.reviews import register
from services.cli.connection import Connection
from services.cli.reviewing import NOTE, Note
from services.core.errors import AtlasError, Reason
from services.core.nifti import read_mask, write_mask
from services.scheduler import reviews
from tests.cli.archive import Archive

NAME = "campaigns/first/reviews/1"
ARA, BEN = "Dr. Ara", "Dr. Ben"


class Desk:
    """One review under the scheduler's own rules, and a storage that takes revisions of named authors only."""

    def __init__(self, archive: Archive) -> None:
        (self._review,) = archive.reviews
        self._archive = archive
        self.record = reviews.Desk()
        self.now = 0
        self.asked: list[Any] = []
        self.authors: dict[str, str] = {}

    @property
    def connection(self) -> Connection:
        plain: Any = self._archive.connection
        plain.storage.rpc.ImportLabelVersion = self._import
        plain.storage.put_file = lambda path: self._archive.put(path.read_bytes())
        plain.scheduler.ClaimReview, plain.scheduler.SubmitReview = self._claim, self._submit
        plain.scheduler.RenewReview, plain.scheduler.ReleaseReview = self._renew, self._release
        plain.scheduler.GetReview, plain.scheduler.ListReviews = self._get, self._list
        return cast(Connection, plain)

    def add_places(self, count: int) -> None:
        """Regions in the review's attention map, each where a rule points."""
        finding = Finding(
            rule="sides_swapped",
            severity=SEVERITY_ERROR,
            message="They are swapped.",
            evidence=[Evidence(name="left_to_liver_mm", value=3.0)],
        )
        for rank in range(1, count + 1):
            self._archive.records[self._review.attention_map].regions.add(
                rank=rank,
                organ="liver",
                cause=pb.AttentionRegion.CAUSE_PRIOR,
                centre_mm=[-60, -50, 195],
                volume_mm3=2100.0,
                probability=0.83,
                findings=[finding],
            )

    def _claim(self, request: sched.ClaimReviewRequest) -> Any:
        assert request.name == NAME
        self.record = reviews.claim(self.record, request.reviewer, request.lease.ToMicroseconds(), self.now)
        return SimpleNamespace(review=self._seen(), fencing_token=self.record.token)

    def _renew(self, request: sched.RenewReviewRequest) -> Any:
        assert request.name == NAME
        self.record = reviews.renew(self.record, request.fencing_token, request.lease.ToMicroseconds(), self.now)
        return SimpleNamespace(review=self._seen())

    def _release(self, request: sched.ReleaseReviewRequest) -> Any:
        assert request.name == NAME
        self.record = reviews.release(self.record, request.fencing_token, self.now)
        return SimpleNamespace(review=self._seen())

    def _submit(self, request: sched.SubmitReviewRequest) -> Any:
        assert request.name == NAME
        token, decision = request.fencing_token, reviews.Decision(request.decision)
        try:
            self.record = reviews.submit(self.record, token, decision, request.revision, self.now)
        except AtlasError:
            self.record = reviews.keep(self.record, request.revision)
            raise
        return SimpleNamespace(review=self._seen())

    def _get(self, request: sched.GetReviewRequest) -> Any:
        assert request.name == NAME
        return SimpleNamespace(review=self._seen())

    def _list(self, request: sched.ListReviewsRequest) -> Any:
        self.asked.append(request.parent)
        return SimpleNamespace(reviews=[self._seen()], next_page_token="")

    def _seen(self) -> sched.Review:
        desk = reviews.expire(self.record, self.now)
        seen = sched.Review()
        seen.CopyFrom(self._review)
        seen.MergeFrom(sched.Review(state=cast(Any, int(desk.state)), reviewer=desk.reviewer))
        return seen

    def _import(self, request: pb.ImportLabelVersionRequest, timeout: float) -> Any:
        if not request.author:
            raise AtlasError(Reason.FIELD_REQUIRED, "A text is required.", field="author")
        name = f"{request.parent}/labels/revision-{len(self.authors)}"
        self.authors[name] = request.author
        return SimpleNamespace(label_version=pb.LabelVersion(name=name))


@pytest.fixture
def desk(archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    """One open review, which the command finds."""
    archive.reviews.clear()
    archive.add_review(archive.items[0])
    desk = Desk(archive)
    monkeypatch.setattr(Connection, "to", lambda _: desk.connection)
    monkeypatch.chdir(tmp_path)
    return desk


def review(words: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["review", *shlex.split(words)])


def correct(folder: str) -> None:
    """Change one voxel of the spleen, as a reviewer does."""
    path = Path(folder) / "segmentations" / "spleen.nii.gz"
    mask = read_mask(path)
    mask.voxels[0, 0, 0] ^= 1
    write_mask(path, mask.voxels, mask.geometry, like=mask.header)


def lease_lost(result: Result) -> bool:
    return isinstance(result.exception, AtlasError) and result.exception.reason == Reason.LEASE_LOST


def test_work_after_the_lease_is_kept_under_its_author(desk: Desk) -> None:
    assert review(f"claim first/1 --reviewer '{ARA}' --minutes 1 --to case").exit_code == 0
    correct("case")
    desk.now += 61 * reviews.SECOND
    late = review("submit case")
    assert lease_lost(late)
    (kept,) = desk.record.side_versions
    assert desk.authors == {kept: ARA}
    assert f"kept beside the review, as {kept}" in " ".join(late.stderr.split())


def test_late_work_is_not_stored_under_the_next_reviewers_name(desk: Desk) -> None:
    assert review(f"claim first/1 --reviewer '{ARA}' --minutes 1 --to mine").exit_code == 0
    correct("mine")
    desk.now += 61 * reviews.SECOND
    assert review(f"claim first/1 --reviewer '{BEN}' --to theirs").exit_code == 0
    assert lease_lost(review("submit mine"))
    (kept,) = desk.record.side_versions
    assert desk.authors == {kept: ARA}
    correct("theirs")
    assert review("submit theirs").exit_code == 0
    assert desk.authors[desk.record.revision] == BEN
    assert desk.record.reviewer == BEN


def test_without_a_claim_folder_the_reviewer_is_named(desk: Desk) -> None:
    review(f"claim first/1 --reviewer '{ARA}' --minutes 1 --to case")
    correct("case")
    desk.now += 61 * reviews.SECOND
    submit = "submit first/1 --token 1 --masks case/segmentations/spleen.nii.gz"
    refused = review(submit)
    assert isinstance(refused.exception, AtlasError)
    assert refused.exception.field == "--reviewer"
    assert not desk.authors, "nothing was uploaded"
    assert lease_lost(review(f"{submit} --reviewer '{ARA}'"))
    assert list(desk.authors.values()) == [ARA]


def test_what_is_decided_is_asked_first(desk: Desk) -> None:
    refused = review("submit first/1 --token 1")
    assert isinstance(refused.exception, AtlasError)
    assert refused.exception.field == "--masks or --accept"
    refused = review("submit ./nowhere --token 1")
    assert isinstance(refused.exception, AtlasError)
    assert "no such folder" in refused.exception.message


def test_changed_masks_are_not_accepted_away(desk: Desk) -> None:
    review(f"claim first/1 --reviewer '{ARA}' --to case")
    correct("case")
    refused = review("submit case --accept")
    assert isinstance(refused.exception, AtlasError)
    assert (refused.exception.field, "spleen" in refused.exception.message) == ("--accept", True)
    assert not desk.record.decision
    assert review("submit case").exit_code == 0
    assert desk.record.decision == reviews.Decision.REVISED


@pytest.mark.parametrize("words", ["submit case", "submit case --accept", "submit case --masks case/segmentations"])
def test_work_that_cannot_be_taken_is_not_passed_by(desk: Desk, words: str) -> None:
    """Whatever a viewer saves beside the masks may be the revision itself."""
    review(f"claim first/1 --reviewer '{ARA}' --to case")
    Path("case/segmentations/Segmentation.seg.nrrd").write_bytes(b"work")
    refused = review(words)
    assert isinstance(refused.exception, AtlasError)
    assert refused.exception.field == "case/segmentations/Segmentation.seg.nrrd"
    assert not desk.record.decision
    assert not desk.authors, "nothing was uploaded"


def test_a_mask_that_is_gone_from_the_folder_is_told_of(desk: Desk) -> None:
    review(f"claim first/1 --reviewer '{ARA}' --to case")
    correct("case")
    next(path for path in Path("case/segmentations").iterdir() if "spleen" not in path.name).unlink()
    told = review("submit case")
    assert told.exit_code == 0
    assert "is gone from the folder" in " ".join(told.stderr.split())


@pytest.mark.parametrize("given", ["first/1", NAME])
def test_a_review_is_named_in_short_or_in_full(desk: Desk, given: str) -> None:
    assert review(f"claim {given} --reviewer '{ARA}'").stdout.startswith("first/1 is yours until ")
    assert review(f"renew {given} --token 1 --minutes 5").stdout.startswith("first/1: held until ")
    assert review(f"release {given} --token 1").stdout == "first/1: open.\n"
    review(f"claim {given} --reviewer '{ARA}'")
    assert review(f"submit {given} --token 2 --accept").stdout == "first/1: accepted.\n"
    assert desk.record.decision == reviews.Decision.ACCEPTED


def test_a_claim_tells_the_most_urgent_places(desk: Desk) -> None:
    """Where to look, how probably it is wrong and why; nothing under a profile that knows no places."""
    assert "Wrong with" not in review(f"claim first/1 --reviewer '{ARA}' --minutes 1").stdout
    desk.add_places(6)
    desk.now += 61 * reviews.SECOND
    told = review(f"claim first/1 --reviewer '{BEN}'").stdout
    assert told.count("an anatomical rule points here") == 5
    (first, *_) = [line.split() for line in told.splitlines() if line.startswith("liver")]
    assert first[:10] == ["liver", "L", "60,", "P", "50,", "S", "195", "2.1", "83%", "an"]
    assert " ".join(told.split()).count("error (sides_swapped): They are swapped. Left to liver 3 mm.") == 5


@pytest.mark.parametrize("given", ["first", "first/1/2", "../1", "campaigns/first/1", "volumes/a/labels/b"])
def test_what_is_no_review_is_refused(desk: Desk, given: str) -> None:
    refused = review(f"claim {given} --reviewer '{ARA}'")
    assert isinstance(refused.exception, AtlasError)
    assert refused.exception.reason == Reason.NAME_INVALID
    assert refused.exception.field == "REVIEW"
    assert "spring/r1-1" in refused.exception.remedy


def test_reviews_of_one_campaign_or_of_all(desk: Desk) -> None:
    for words in ("list", "list first", "list campaigns/first --open"):
        assert "first/1" in review(words).stdout
    assert desk.asked == ["campaigns/-", "campaigns/first", "campaigns/first"]


def test_the_claim_is_noted_under_its_full_name(desk: Desk) -> None:
    review(f"claim first/1 --reviewer '{ARA}' --to case")
    assert Note.read(Path("case")).review == NAME, (Path("case") / NOTE).read_text()
