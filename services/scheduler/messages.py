"""Rows of the tables as messages of the API."""

from google.protobuf.timestamp_pb2 import Timestamp

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from services.scheduler import desk
from services.scheduler.tables import Campaign, Event, Item, Review


def campaign(row: Campaign) -> pb.Campaign:
    """The campaign."""
    return pb.Campaign(
        name=f"campaigns/{row.id}",
        state=pb.Campaign.State.ValueType(row.state),
        round=row.round,
        models=row.models,
        grid=GridSpec(spacing_mm=row.spacing_mm),
        class_map=row.class_map,
        profile=row.profile,
        review_share=row.review_share,
        volume_count=row.volume_count,
        ready_count=row.ready_count,
        failed_count=row.failed_count,
        open_review_count=row.open_review_count,
        etag=str(row.version),
        create_time=_timestamp(row.create_time),
        update_time=_timestamp(row.update_time),
    )


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


def _timestamp(microseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMicroseconds(microseconds)
    return timestamp
