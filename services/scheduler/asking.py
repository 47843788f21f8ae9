"""What CreateCampaign asks for about reviews: strategy, control arm, budget and audits, checked and with defaults."""

import math

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler import campaigns
from services.scheduler.reviews import MINUTE
from services.scheduler.rounds import Acquisition


def acquisition(request: pb.CreateCampaignRequest) -> Acquisition:
    """The request's, with defaults for what it leaves out. Raises FIELD_INVALID."""
    budget, policy = request.WhichOneof("budget"), request.audit_policy
    share = 1.0 if budget else campaigns.DEFAULT_SHARE
    return Acquisition(
        review_share=campaigns.require_share(request.review_share) if request.HasField("review_share") else share,
        strategy=_strategy(request.strategy),
        control_share=_control_share(request.control_share or campaigns.DEFAULT_CONTROL_SHARE),
        budget_cases=_cases(request.budget_cases) if budget == "budget_cases" else None,
        budget_minutes=_minutes(request) if budget == "budget_time" else None,
        target_error_share=_target(policy.target_error_share or campaigns.DEFAULT_TARGET),
        audit_confidence=_confidence(policy.confidence or campaigns.DEFAULT_CONFIDENCE),
        tolerance=_tolerance(policy.tolerance),
    )


def _strategy(value: int) -> int:
    if value not in pb.Campaign.Strategy.values():
        names = ", ".join(pb.Campaign.Strategy.keys()[1:])
        raise _invalid("strategy", f"There is no strategy {value}.", f"There are: {names}.")
    return value or pb.Campaign.STRATEGY_PRIORITY


def _control_share(share: float) -> float:
    least, most = campaigns.LEAST_CONTROL_SHARE, campaigns.MOST_CONTROL_SHARE
    if not least <= share <= most:
        remedy = "Without a control arm nobody would know whether the strategy is of use."
        raise _invalid("control_share", f"The control arm's share is from {least} to {most}, not {share}.", remedy)
    return share


def _cases(cases: int) -> int:
    if not 1 <= cases <= campaigns.MAX_VOLUMES:
        raise _invalid("budget_cases", f"A budget is from 1 to {campaigns.MAX_VOLUMES} cases, not {cases}.")
    return cases


def _minutes(request: pb.CreateCampaignRequest) -> float:
    # Not ToMicroseconds: a malformed duration may hold any numbers.
    minutes = (request.budget_time.seconds + request.budget_time.nanos / 1e9) * 1e6 / MINUTE
    if not campaigns.LEAST_MINUTES <= minutes <= campaigns.MOST_MINUTES:
        raise _invalid("budget_time", "A budget is from one minute to ten years of reviewers' time.")
    return minutes


def _target(share: float) -> float:
    if not 0 < share < 1:
        raise _invalid("audit_policy.target_error_share", f"{share} is not above 0 and below 1.")
    if share < campaigns.LEAST_TARGET:
        message = f"No audit could prove a share of wrong cases of {share}."
        raise _invalid("audit_policy.target_error_share", message, f"Take at least {campaigns.LEAST_TARGET}.")
    return share


def _confidence(confidence: float) -> float:
    least, most = campaigns.LEAST_CONFIDENCE, campaigns.MOST_CONFIDENCE
    if not least <= confidence <= most:
        raise _invalid("audit_policy.confidence", f"A confidence is from {least} to {most}, not {confidence}.")
    return confidence


def _tolerance(share: float) -> float:
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise _invalid("audit_policy.tolerance", f"{share} is not a share from 0 to 1.")
    return share


def _invalid(field: str, message: str, remedy: str = "") -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=field, remedy=remedy)
