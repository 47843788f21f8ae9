"""The rules of a campaign's life, without database or network."""

import math
from enum import IntEnum

from services.core.errors import AtlasError, Reason

DEFAULT_SHARE = 0.05
DEFAULT_CONTROL_SHARE = 0.1
LEAST_CONTROL_SHARE, MOST_CONTROL_SHARE = 0.01, 0.5
DEFAULT_TARGET, DEFAULT_CONFIDENCE = 0.05, 0.95
LEAST_TARGET = 1e-5
LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 0.9999
LEAST_MINUTES, MOST_MINUTES = 1, 10 * 366 * 24 * 60
DEFAULT_PROFILE = "calibrated"
MAX_VOLUMES = 100_000
MAX_MODELS = 16


class State(IntEnum):
    """Values of `scheduler.v1.Campaign.State`; a test holds the two together."""

    RUNNING = 1
    IN_REVIEW = 2
    ROUND_DONE = 3
    CANCELLED = 4
    FINISHED = 5


class ItemState(IntEnum):
    """Values of `scheduler.v1.CampaignItem.State`; a test holds the two together."""

    PENDING = 1
    RUNNING = 2
    READY = 3
    FAILED = 4


UNDONE = (ItemState.PENDING, ItemState.RUNNING)
"""Volumes in these states are still to do."""


class Arm(IntEnum):
    """Why a volume is reviewed. Values of `scheduler.v1.Review.Arm`; a test holds the two together."""

    STRATEGY = 1
    CONTROL = 2
    AUDIT = 3


class Kind(IntEnum):
    """Values of `scheduler.v1.CampaignEvent.Kind`; a test holds the two together."""

    ROUND_STARTED = 1
    PREDICTED = 2
    SCORED = 3
    MERGED = 4
    FAILED = 5
    RANKED = 6
    REVIEW_CLAIMED = 7
    REVIEW_RELEASED = 8
    REVIEW_SUBMITTED = 9
    SIDE_VERSION_KEPT = 10
    ROUND_DONE = 11
    CANCELLED = 12
    AUDIT_STARTED = 13
    AUDIT_DONE = 14


def require_startable(state: State, name: str) -> None:
    """Raise CAMPAIGN_STATE unless the next round may start."""
    if state != State.ROUND_DONE:
        remedy = {
            State.RUNNING: "Wait until the round is ranked and its reviews are done.",
            State.IN_REVIEW: "Finish the open reviews first.",
            State.CANCELLED: "Create a new campaign.",
            State.FINISHED: "Its audit passed. Create a new campaign to go on.",
        }[state]
        raise AtlasError(Reason.CAMPAIGN_STATE, f"{name} is {state.name}.", field="name", remedy=remedy)


def is_started(number: int, current: int) -> bool:
    """Whether a round that StartRound names has been started, in a campaign whose round is `current`.

    Raises FIELD_INVALID for one that neither was nor is next. The first starts with its campaign.
    """
    if not 2 <= number <= current + 1:
        message = f"Round {number} does not follow round {current}."
        remedy = "Name the round after Campaign.round."
        raise AtlasError(Reason.FIELD_INVALID, message, field="round", remedy=remedy)
    return number <= current


def is_audited(number: int, current: int) -> bool:
    """Whether an audit that StartAudit names has been started, in a campaign of `current` audits.

    Raises FIELD_INVALID for one that neither was nor is next.
    """
    if not 1 <= number <= current + 1:
        message = f"Audit {number} does not follow audit {current}."
        remedy = "Name the audit after Campaign.audit_count."
        raise AtlasError(Reason.FIELD_INVALID, message, field="number", remedy=remedy)
    return number <= current


def require_share(share: float) -> float:
    """`share` if it is a number from 0 to 1. Raises FIELD_INVALID."""
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise AtlasError(Reason.FIELD_INVALID, f"{share} is not a share from 0 to 1.", field="review_share")
    return share


def require_etag(given: str, current: str) -> None:
    """Raise ETAG_MISMATCH unless `given` is empty or `current`."""
    if given and given != current:
        raise AtlasError(
            Reason.ETAG_MISMATCH,
            "It changed since it was read.",
            field="etag",
            remedy="Read it again and decide again.",
        )
