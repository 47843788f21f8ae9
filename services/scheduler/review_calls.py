"""What the calls about reviews do: blocking functions from request to response."""

from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration
from sqlalchemy.orm import Session

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2 import ORIGIN_REVISION
from services.core import names
from services.core.access import identity
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.core.rpc.paging import Page
from services.core.texts import require_text
from services.scheduler import desk, journal, messages, reviews
from services.scheduler.clock import Clock
from services.scheduler.database import Database
from services.scheduler.desk import Key, Revision
from services.scheduler.reviews import Decision
from services.scheduler.workers import Workers

_DECIDE = "Say whether the labels were accepted or revised."


class ReviewCalls:
    """The review queue. `wake` tells whoever works that there is something to do."""

    def __init__(self, database: Database, workers: Workers, clock: Clock, wake: Callable[[], None]) -> None:
        self._database, self._workers, self._clock, self._wake = database, workers, clock, wake

    def get(self, request: pb.GetReviewRequest) -> pb.GetReviewResponse:
        """GetReview."""
        with self._database.read() as session:
            return pb.GetReviewResponse(review=messages.review(desk.find(session, _key(request.name)), self._clock()))

    def list_reviews(self, request: pb.ListReviewsRequest) -> pb.ListReviewsResponse:
        """ListReviews."""
        now = self._clock()
        parent = "" if request.parent == "campaigns/-" else names.parse(request.parent, "campaigns/*", "parent")[0]
        kinds = (str, int, int)
        page = Page.of(request.page_size, request.page_token, "ListReviews", kinds, parent, int(request.state))
        with self._database.read() as session:
            if parent:
                journal.find(session, parent)
            found = desk.page(session, parent, request.state, page.after, page.size + 1, now)
            rows, token = page.cut(found, lambda row: (row.campaign, row.round, row.rank))
            return pb.ListReviewsResponse(reviews=[messages.review(row, now) for row in rows], next_page_token=token)

    def claim(self, request: pb.ClaimReviewRequest) -> pb.ClaimReviewResponse:
        """ClaimReview."""
        key, lease, now = _key(request.name), _lease(request, request.lease), self._clock()
        # By the rule for a label version's author, so that whoever may claim may hand in.
        reviewer = require_text(request.reviewer or identity.actor(), "reviewer", required=True)
        identity.require_acting_as(reviewer, "reviewer")
        with self._database.change() as session:
            row = desk.claim(session, key, reviewer, lease, now)
            return pb.ClaimReviewResponse(review=messages.review(row, now), fencing_token=row.token)

    def renew(self, request: pb.RenewReviewRequest) -> pb.RenewReviewResponse:
        """RenewReview."""
        key, lease, now = _key(request.name), _lease(request, request.lease), self._clock()
        with self._database.change() as session:
            _require_holder(session, key, request.fencing_token)
            row = desk.renew(session, key, request.fencing_token, lease, now)
            return pb.RenewReviewResponse(review=messages.review(row, now))

    def release(self, request: pb.ReleaseReviewRequest) -> pb.ReleaseReviewResponse:
        """ReleaseReview."""
        key, now = _key(request.name), self._clock()
        with self._database.change() as session:
            _require_holder(session, key, request.fencing_token)
            row = desk.release(session, key, request.fencing_token, now)
            return pb.ReleaseReviewResponse(review=messages.review(row, now))

    def submit(self, request: pb.SubmitReviewRequest) -> pb.SubmitReviewResponse:
        """SubmitReview."""
        key, decision = _key(request.name), _decision(request)
        revision = self._revision(key, request.revision) if request.revision else Revision()
        now, trace = self._clock(), request_id.current()
        with self._database.change() as session:
            _require_holder(session, key, request.fencing_token)
            outcome = desk.submit(session, key, request.fencing_token, decision, revision, now, trace)
            response = None if isinstance(outcome, AtlasError) else messages.review(outcome, now)
        # Only now is the side version safe.
        if isinstance(outcome, AtlasError):
            raise outcome
        self._wake()
        return pb.SubmitReviewResponse(review=response)

    def _revision(self, key: Key, revision: str) -> Revision:
        """What storage knows of it, if it is a revision of the review's volume."""
        volume, _ = names.parse(revision, "volumes/*/labels/*", "revision")
        with self._database.read() as session:
            expected = desk.find(session, key).volume
            class_map = journal.find(session, key.campaign).class_map
        if volume != expected:
            raise _bad_revision(f"{revision} is not of this review's volume, volumes/{expected}.")
        version = self._workers.label_version(revision)
        if version.origin != ORIGIN_REVISION:
            raise _bad_revision(f"{revision} is not a revision.")
        if version.class_map != class_map:
            message = f"{revision} speaks of {version.class_map}, the campaign of {class_map}."
            remedy = "Import it with the campaign's class map."
            raise AtlasError(Reason.CLASS_MAP_MISMATCH, message, field="revision", remedy=remedy)
        return Revision(version.name, version.author)


def _require_holder(session: Session, key: Key, token: int) -> None:
    """A token is a number that another annotator can guess. One that holds nothing is left to the desk."""
    row = desk.find(session, key)
    if row.reviewer and row.token == token:
        identity.require_acting_as(row.reviewer, "fencing_token")


def _key(name: str) -> Key:
    return Key(*names.parse(name, "campaigns/*/reviews/*", "name"))


def _lease(request: pb.ClaimReviewRequest | pb.RenewReviewRequest, given: Duration) -> int:
    """Microseconds."""
    return reviews.require_lease(given.ToMicroseconds()) if request.HasField("lease") else reviews.DEFAULT_LEASE


def _decision(request: pb.SubmitReviewRequest) -> Decision:
    try:
        decision = Decision(request.decision)
    except ValueError as error:
        message = f"{request.decision} is no decision."
        raise AtlasError(Reason.FIELD_INVALID, message, field="decision", remedy=_DECIDE) from error
    if decision == Decision.NONE:
        raise AtlasError(Reason.FIELD_REQUIRED, "What was decided?", field="decision", remedy=_DECIDE)
    if decision == Decision.REVISED and not request.revision:
        remedy = "Import the revised organs as a label version and name it."
        raise AtlasError(Reason.FIELD_REQUIRED, "Which revision?", field="revision", remedy=remedy)
    if decision == Decision.ACCEPTED and request.revision:
        message = "Labels that are right as they are have no revision."
        raise AtlasError(Reason.FIELD_INVALID, message, field="revision", remedy="Leave it out, or decide REVISED.")
    return decision


def _bad_revision(message: str) -> AtlasError:
    remedy = "Import it as a label version of this volume whose origin is a revision."
    return AtlasError(Reason.FIELD_INVALID, message, field="revision", remedy=remedy)
