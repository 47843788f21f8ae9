"""Rows of the tables as messages of the API."""

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from services.scheduler import desk
from services.scheduler.reviews import MINUTE, State
from services.scheduler.tables import Audit, Campaign, Event, Item, Review


def campaign(row: Campaign) -> pb.Campaign:
    """The campaign."""
    message = pb.Campaign(
        name=f"campaigns/{row.id}",
        state=pb.Campaign.State.ValueType(row.state),
        round=row.round,
        models=row.models,
        grid=GridSpec(spacing_mm=row.spacing_mm),
        class_map=row.class_map,
        profile=row.profile,
        review_share=row.review_share,
        strategy=pb.Campaign.Strategy.ValueType(row.strategy),
        control_share=row.control_share,
        audit_policy=pb.AuditPolicy(
            target_error_share=row.target_error_share, confidence=row.audit_confidence, tolerance=row.tolerance
        ),
        audit_count=row.audit_count,
        volume_count=row.volume_count,
        ready_count=row.ready_count,
        failed_count=row.failed_count,
        open_review_count=row.open_review_count,
        etag=str(row.version),
        create_time=_timestamp(row.create_time),
        update_time=_timestamp(row.update_time),
    )
    if row.merge_policy:
        json_format.ParseDict(row.merge_policy, message.merge_policy)
    if row.budget_cases is not None:
        message.budget_cases = row.budget_cases
    elif row.budget_minutes is not None:
        message.budget_time.CopyFrom(duration(row.budget_minutes * MINUTE))
    return message


def item(row: Item) -> pb.CampaignItem:
    """The volume in its campaign."""
    return pb.CampaignItem(
        volume=f"volumes/{row.volume}",
        state=pb.CampaignItem.State.ValueType(row.state),
        predictions=row.predictions,
        attention_map=row.attention_map,
        label_version=row.label_version,
        source_organs=row.source_organs,
        priority=row.priority,
        rank=row.rank,
        error=row.error,
    )


def review(row: Review, now: int) -> pb.Review:
    """The review as it is at `now` (microseconds since 1970 UTC)."""
    seen = desk.seen(row, now)
    is_done = seen.state == State.DONE
    return pb.Review(
        name=desk.Key(row.campaign, row.id).name,
        state=pb.Review.State.ValueType(seen.state),
        volume=f"volumes/{row.volume}",
        round=row.round,
        rank=row.rank,
        priority=row.priority,
        attention_map=row.attention_map,
        label_version=row.label_version,
        organs=row.organs,
        reviewer=seen.reviewer,
        lease_expire_time=None if seen.expires is None else _timestamp(seen.expires),
        decision=pb.Review.Decision.ValueType(seen.decision),
        revision=seen.revision,
        result=seen.result,
        side_versions=seen.side_versions,
        etag=str(row.version),
        # A reviewer who knew would not look at all cases alike.
        arm=pb.Review.Arm.ValueType(row.arm if is_done else 0),
        active_time=duration(seen.active),
        revised_mm3=row.revised_mm3,
    )


def audit(row: Audit, done: int, errors: int) -> pb.Audit:
    """The audit, with `done` of its reviews done and `errors` of them wrong so far."""
    return pb.Audit(
        number=row.number,
        round=row.round,
        volume_count=row.volume_count,
        case_count=row.case_count,
        done_count=done,
        error_count=errors,
        confidence=row.confidence,
        error_share_bound=row.bound,
        passed=row.passed,
        create_time=_timestamp(row.create_time),
    )


def event(row: Event) -> pb.CampaignEvent:
    """The event."""
    return pb.CampaignEvent(
        sequence=row.sequence,
        kind=pb.CampaignEvent.Kind.ValueType(row.kind),
        time=_timestamp(row.time),
        round=row.round,
        volume=f"volumes/{row.volume}" if row.volume else "",
        resource=row.resource,
        message=row.message,
        actor=row.actor,
    )


def duration(microseconds: float) -> Duration:
    """Rounded to microseconds."""
    result = Duration()
    result.FromMicroseconds(round(microseconds))
    return result


def _timestamp(microseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMicroseconds(microseconds)
    return timestamp
