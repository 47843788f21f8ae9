"""What a campaign's reviews have brought, out of the tables."""

import math
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.scheduler import audits, facts, messages, pool
from services.scheduler.acquisition import gain, standing
from services.scheduler.acquisition.cost import CostModel
from services.scheduler.acquisition.gain import Outcome
from services.scheduler.campaigns import Arm
from services.scheduler.campaigns import State as CampaignState
from services.scheduler.reviews import MINUTE, Decision, State
from services.scheduler.tables import Campaign, Review


def report(session: Session, campaign: Campaign) -> pb.CampaignReport:
    """The report of a campaign."""
    mine = (Review.campaign == campaign.id) & (Review.state != State.WITHDRAWN)
    rows = list(session.scalars(select(Review).where(mine)))
    by_arm = {arm: [row for row in rows if row.arm == arm] for arm in Arm}
    left = pool.left(session, campaign)
    return pb.CampaignReport(
        campaign=f"campaigns/{campaign.id}",
        arms=[_arm(arm, reviews) for arm, reviews in by_arm.items() if reviews],
        gains=_gains(_outcomes(by_arm[Arm.STRATEGY]), _outcomes(by_arm[Arm.CONTROL])),
        audits=_audits(session, campaign, by_arm[Arm.AUDIT]),
        next_audit=_next_audit(session, campaign),
        cases_left=None if math.isinf(left.cases) else int(left.cases),
        time_left=None if math.isinf(left.minutes) else messages.duration(left.minutes * MINUTE),
        cost_review_count=pool.cost_model(session).reviews,
        norms=_norms(session, campaign),
    )


def _norms(session: Session, campaign: Campaign) -> list[pb.OrganNorm]:
    unknown_cost = CostModel()
    ready = [one.candidate(unknown_cost) for one in pool.unreviewed(session, campaign.id)]
    found = standing.norms([*ready, *pool.seen_before(session, campaign.id)])
    return [
        pb.OrganNorm(organ=n.organ, volume_count=n.cases, median_mm3=n.median_mm3, high_mm3=n.high_mm3) for n in found
    ]


def _arm(arm: Arm, reviews: Sequence[Review]) -> pb.ArmReport:
    done = _done(reviews)
    measured = [review.revised_mm3 for review in done if review.revised_mm3 is not None]
    return pb.ArmReport(
        arm=pb.Review.Arm.ValueType(arm),
        review_count=len(reviews),
        done_count=len(done),
        revised_count=sum(review.decision == Decision.REVISED for review in done),
        revised_mm3=sum(measured),
        measured_count=len(measured),
        active_time=messages.duration(sum(review.active_time for review in done)),
    )


def _gains(strategy: Sequence[Outcome], control: Sequence[Outcome]) -> list[pb.Gain]:
    gains = []
    for name, measure in gain.MEASURES.items():
        found = measure(strategy, control, gain.CONFIDENCE)
        if found is not None:
            gains.append(
                pb.Gain(
                    measure=pb.Gain.Measure.Value(f"MEASURE_{name.upper()}"),
                    strategy=found.strategy,
                    control=found.control,
                    difference=found.difference,
                    lower=found.lower,
                    upper=found.upper,
                    confidence=gain.CONFIDENCE,
                )
            )
    return gains


def _audits(session: Session, campaign: Campaign, reviews: Sequence[Review]) -> list[pb.Audit]:
    found = []
    for audit in audits.history(session, campaign.id):
        done = _done([review for review in reviews if review.audit == audit.number])
        wrong = sum(audits.is_wrong(review, campaign.tolerance) for review in done)
        found.append(messages.audit(audit, len(done), wrong))
    return found


def _next_audit(session: Session, campaign: Campaign) -> pb.AuditPlan | None:
    if campaign.state in (CampaignState.FINISHED, CampaignState.CANCELLED):
        return None
    needed, confidence = audits.needed(campaign)
    cost = pool.cost_model(session)
    unseen = [cost.minutes(facts.work(one.facts)) for one in pool.unseen(session, campaign.id)]
    cases = min(needed, len(unseen))
    minutes = cases * sum(unseen) / len(unseen) if unseen else 0.0
    return pb.AuditPlan(
        case_count=cases,
        confidence=confidence,
        volume_count=len(unseen),
        expected_time=messages.duration(minutes * MINUTE),
    )


def _done(reviews: Sequence[Review]) -> list[Review]:
    return [review for review in reviews if review.state == State.DONE]


def _outcomes(reviews: Sequence[Review]) -> list[Outcome]:
    return [
        Outcome(review.decision == Decision.REVISED, review.active_time / MINUTE, review.revised_mm3)
        for review in _done(reviews)
    ]
