"""The scheduler's own tables: its truth about campaigns. Times are microseconds since 1970 UTC.

Whoever changes anything of a campaign locks its row first (`journal.lock`), so the changes of one campaign happen one
after another, its counters are exact and its events have no gaps.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.core.audit.log import table as audit_log

ID = String(63)
NAME = String(255)


class Base(DeclarativeBase):
    """All tables, with names for their constraints so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {int: BigInteger, list[str]: JSON, dict[str, Any]: JSON}  # noqa: RUF012 (SQLAlchemy's name)


audit_log("scheduler").to_metadata(Base.metadata)


class Campaign(Base):
    """See `scheduler.v1.Campaign`."""

    __tablename__ = "campaign"
    __table_args__ = (Index(None, "create_time", "id"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    state: Mapped[int]
    round: Mapped[int]
    models: Mapped[list[str]]
    organs: Mapped[list[str]]
    """Organs that the ensemble knows, in the order in which its models name them."""
    spacing_mm: Mapped[float]
    class_map: Mapped[str] = mapped_column(ID)
    profile: Mapped[str] = mapped_column(ID)
    review_share: Mapped[float]
    strategy: Mapped[int]
    control_share: Mapped[float]
    budget_cases: Mapped[int | None]
    budget_minutes: Mapped[float | None]
    target_error_share: Mapped[float]
    audit_confidence: Mapped[float]
    """Over all audits of the campaign together."""
    tolerance: Mapped[float]
    merge_policy: Mapped[dict[str, Any]]
    """`type.v1.MergePolicy` as protobuf JSON; empty means its defaults."""
    asked_policy: Mapped[dict[str, Any]]
    """The same without what the cards of the newest round's models told; empty if that is not known."""
    audit_count: Mapped[int]
    volume_count: Mapped[int]
    ready_count: Mapped[int]
    failed_count: Mapped[int]
    open_review_count: Mapped[int]
    version: Mapped[int]
    """Grows with every change; the etag."""
    last_sequence: Mapped[int]
    """Of the newest event."""
    request_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    """The caller's idempotency key."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the request that created it."""
    trace_id: Mapped[str] = mapped_column(String(64))
    """Request id under which its work is logged in all services."""
    create_time: Mapped[int]
    update_time: Mapped[int]


class Item(Base):
    """See `scheduler.v1.CampaignItem`."""

    __tablename__ = "item"
    __table_args__ = (
        Index(None, "campaign", "state"),
        # Exactly the order of `items.to_queue`, so that the next few of many are found without sorting them all.
        Index("ix_item_queue", "state", "queued", text("priority DESC"), "age", "campaign", "volume"),
        Index(None, "campaign", "rank", "volume"),
    )

    campaign: Mapped[str] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    volume: Mapped[str] = mapped_column(ID, primary_key=True)
    """Id of the volume, the last part of its name."""
    state: Mapped[int]
    round: Mapped[int]
    """The round whose work `state` tells of."""
    queued: Mapped[bool]
    """Whether the workflow engine has been told."""
    age: Mapped[int]
    """When the round's work came up; older work of equal priority goes first."""
    predictions: Mapped[list[str]]
    attention_map: Mapped[str] = mapped_column(NAME)
    label_version: Mapped[str] = mapped_column(NAME)
    source_organs: Mapped[list[str]]
    organs: Mapped[list[str]]
    """Organs that need a look, most urgent first."""
    priority: Mapped[int]
    rank: Mapped[int]
    error: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, Any]]
    """What strategies look at; see `facts.Facts`."""


class Review(Base):
    """See `scheduler.v1.Review` and `reviews.Desk`."""

    __tablename__ = "review"
    __table_args__ = (
        Index(None, "campaign", "round", "rank"),
        Index(None, "state", "lease_expires"),
        Index(None, "volume", "submit_time"),
    )

    campaign: Mapped[str] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    volume: Mapped[str] = mapped_column(ID)
    round: Mapped[int]
    rank: Mapped[int]
    priority: Mapped[int]
    attention_map: Mapped[str] = mapped_column(NAME)
    label_version: Mapped[str] = mapped_column(NAME)
    organs: Mapped[list[str]]
    predictions: Mapped[list[str]]
    """The predictions under `label_version`; the merge with the revision takes the same."""
    state: Mapped[int]
    reviewer: Mapped[str] = mapped_column(String(128))
    token: Mapped[int]
    lease_expires: Mapped[int | None]
    decision: Mapped[int]
    revision: Mapped[str] = mapped_column(NAME)
    result: Mapped[str] = mapped_column(NAME)
    side_versions: Mapped[list[str]]
    queued: Mapped[bool]
    """Whether the workflow engine has been told of the decision."""
    version: Mapped[int]
    """Grows with every change; the etag."""
    trace_id: Mapped[str] = mapped_column(String(64))
    """Request id of the submission."""
    create_time: Mapped[int]
    submit_time: Mapped[int | None]
    arm: Mapped[int]
    audit: Mapped[int]
    """The audit that asked for it, from 1; 0 for a round's."""
    active_time: Mapped[int]
    """Microseconds; see `reviews.Desk.active`."""
    seen_time: Mapped[int | None]
    facts: Mapped[dict[str, Any]]
    """Those of its item when it was opened."""
    expected_minutes: Mapped[float]
    revised_mm3: Mapped[float | None]


class Audit(Base):
    """See `scheduler.v1.Audit`."""

    __tablename__ = "quality_audit"

    campaign: Mapped[str] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int]
    volume_count: Mapped[int]
    case_count: Mapped[int]
    confidence: Mapped[float]
    """Of this audit by itself."""
    error_count: Mapped[int | None]
    """Set when its reviews are done, as is the bound."""
    bound: Mapped[float | None]
    passed: Mapped[bool]
    create_time: Mapped[int]


class Event(Base):
    """See `scheduler.v1.CampaignEvent`: the campaign's history and its audit trail. Rows are never changed."""

    __tablename__ = "event"
    __table_args__ = (UniqueConstraint("campaign", "once"),)

    campaign: Mapped[str] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[int]
    time: Mapped[int]
    round: Mapped[int]
    volume: Mapped[str] = mapped_column(ID)
    resource: Mapped[str] = mapped_column(NAME)
    message: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(128))
    once: Mapped[str | None] = mapped_column(NAME)
    """What may happen only once, however often the step that tells it is repeated."""


class Executor(Base):
    """A process that runs workflows, and when it last gave a sign."""

    __tablename__ = "executor"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    seen_time: Mapped[int]
    asked_time: Mapped[int | None]
    """When it last refused a campaign or a round for want of a network; see `demand`."""
