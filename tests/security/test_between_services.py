"""Services that are closed work together over mutual TLS, and people at the scheduler act as themselves."""

from collections.abc import Callable, Iterator

import grpc
import pytest

from abdomenatlas.audit.v1 import audit_pb2
from abdomenatlas.audit.v1.audit_pb2_grpc import AuditServiceStub
from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.storage import Storage
from tests.scheduler.world import Server, World
from tests.security.conftest import Closed
from tests.storage import files


def person(closed: Closed, name: str, role: str) -> grpc.Channel:
    """A channel of the product's own client with a person's token in a file."""
    token = closed.authority.folder / f"{name}.token"
    token.write_text(closed.issuer.token(name, role))
    return closed.over(closed.service.address, closed.authority.credentials(token_file=token))


def test_a_merge_that_a_person_asks_for_is_recorded_for_that_person(
    storage: Closed, closed_services: Callable[..., Closed]
) -> None:
    """Merging reads and writes at storage under its own certificate, on behalf of the operator who asked."""
    merging = closed_services("merging", storage=storage.mutual)
    mine = Storage(person(storage, "Jürgen", "operator"))
    ct, mask = mine.put(files.ct(9)), mine.put(files.mask(files.ball(5)))
    volume = mine.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="merged", object=ct.name)).volume
    request = pb.ImportLabelVersionRequest(
        parent=volume.name, origin=pb.ORIGIN_SOURCE, author="clinic", class_map="abdomenatlas-1.0"
    )
    request.files.add(object=mask.name, organ="liver")
    source = mine.rpc.ImportLabelVersion(request).label_version
    asked = MergeRequest(volume=volume.name, label_versions=[source.name])
    stub = MergingServiceStub(person(merging, "Jürgen", "operator"))
    (merged,) = [message.label_version for message in stub.Merge(asked) if message.HasField("label_version")]
    assert merged.name.startswith(volume.name)
    reader = AuditServiceStub(storage.with_token(storage.issuer.token("root", "admin")))
    entries = reader.ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=1000), timeout=10).entries
    ours = [e for e in entries if e.resource == volume.name and e.method.endswith("CreateLabelVersion")]
    assert [(e.actor, e.behalf_of, e.outcome) for e in ours] == [
        ("merging", "Jürgen", "BEGUN"),
        ("merging", "Jürgen", "OK"),
    ]


@pytest.fixture(scope="module")
def workers() -> Iterator[Server]:
    """Storage, inference, uncertainty and merging as the scheduler sees them."""
    server = Server(World(sources={"a": ()}))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def scheduler(workers: Server, closed_services: Callable[..., Closed]) -> Closed:
    """A closed scheduler with one campaign, whose volume waits for a review."""
    behind = dict.fromkeys(("storage", "inference", "uncertainty", "merging"), workers.address)
    closed = closed_services("scheduler", **behind, tls_ca="", poll_seconds=0.1, sweep_seconds=0.5, drain_seconds=1)
    operator = SchedulerServiceStub(person(closed, "eve", "operator"))
    operator.CreateCampaign(
        sched.CreateCampaignRequest(campaign_id="spring", volumes=["volumes/a"], review_share=1.0), timeout=30
    )
    list(operator.WatchCampaign(sched.WatchCampaignRequest(name="campaigns/spring"), timeout=60))
    return closed


def refused(call: Callable[[], object]) -> Reason:
    with pytest.raises(AtlasError) as caught:
        call()
    return caught.value.reason


def test_an_annotator_reviews_as_themselves_alone(scheduler: Closed) -> None:
    """Not under another's name, and not with a token that another holds: it is a small number, easily guessed."""
    ann, bob, vic = (
        SchedulerServiceStub(person(scheduler, name, role))
        for name, role in (("ann", "annotator"), ("bob", "annotator"), ("vic", "viewer"))
    )
    (review,) = ann.ListReviews(sched.ListReviewsRequest(parent="campaigns/spring")).reviews
    name = review.name
    assert refused(lambda: ann.ClaimReview(sched.ClaimReviewRequest(name=name, reviewer="bob"))) == (
        Reason.PERMISSION_DENIED
    )
    assert refused(lambda: vic.ClaimReview(sched.ClaimReviewRequest(name=name, reviewer="vic"))) == (
        Reason.PERMISSION_DENIED
    )
    claimed = ann.ClaimReview(sched.ClaimReviewRequest(name=name))
    assert claimed.review.reviewer == "ann"
    token = claimed.fencing_token
    accept = sched.SubmitReviewRequest(name=name, fencing_token=token, decision=sched.Review.DECISION_ACCEPTED)
    for attempt in (
        lambda: bob.RenewReview(sched.RenewReviewRequest(name=name, fencing_token=token)),
        lambda: bob.ReleaseReview(sched.ReleaseReviewRequest(name=name, fencing_token=token)),
        lambda: bob.SubmitReview(accept),
    ):
        assert refused(attempt) == Reason.PERMISSION_DENIED
    late = sched.SubmitReviewRequest(name=name, fencing_token=token + 1, decision=sched.Review.DECISION_ACCEPTED)
    assert refused(lambda: bob.SubmitReview(late)) == Reason.LEASE_LOST
    ann.RenewReview(sched.RenewReviewRequest(name=name, fencing_token=token))
    ann.SubmitReview(accept)


def test_the_campaigns_history_and_the_audit_log_name_who_did_it(scheduler: Closed) -> None:
    admin = person(scheduler, "root", "admin")
    SchedulerServiceStub(admin).CancelCampaign(sched.CancelCampaignRequest(name="campaigns/spring"))
    watched = SchedulerServiceStub(admin).WatchCampaign(sched.WatchCampaignRequest(name="campaigns/spring"), timeout=30)
    events = [message.event for message in watched]
    kinds = sched.CampaignEvent
    assert next(e.actor for e in events if e.kind == kinds.KIND_ROUND_STARTED) == "eve"
    assert next(e.actor for e in events if e.kind == kinds.KIND_CANCELLED) == "root"
    entries = AuditServiceStub(admin).ListAuditEntries(audit_pb2.ListAuditEntriesRequest(page_size=1000)).entries
    done = [(e.actor, e.method.split("/")[1], e.outcome) for e in entries if e.outcome != "BEGUN"]
    assert done[0] == ("eve", "CreateCampaign", "OK")
    assert done[-1] == ("root", "CancelCampaign", "OK")
    assert ("bob", "SubmitReview", "PERMISSION_DENIED") in done
    assert ("vic", "ClaimReview", "PERMISSION_DENIED") in done
    assert ("ann", "SubmitReview", "OK") in done
