"""Drawing the sample of an audit."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.core.errors import AtlasError, Reason
from services.core.texts import amount
from services.scheduler import audits, campaigns, desk, journal, pool, ranking
from services.scheduler.acquisition.choice import Chosen
from services.scheduler.acquisition.orders import by_lot
from services.scheduler.campaigns import Arm, Kind, State
from services.scheduler.pool import Ready
from services.scheduler.tables import Audit, Campaign


def start_audit(
    session: Session, name: str, number: int, etag: str, case_count: int, now: int, actor: str = ""
) -> Campaign:
    """Draw the next audit's sample and open its reviews. Without a volume left unseen the campaign is finished at once.

    `number` is the audit's, or 0 for whichever is next. An audit that was started before is not started again.
    Raises CAMPAIGN_STATE, also when only volumes that failed are left and they are too many, FIELD_INVALID and
    ETAG_MISMATCH.
    """
    campaign = journal.lock(session, name)
    if number and campaigns.is_audited(number, campaign.audit_count):
        return campaign
    campaigns.require_etag(etag, str(campaign.version))
    campaigns.require_startable(State(campaign.state), f"campaigns/{campaign.id}")
    ready = pool.unseen(session, campaign.id)
    if not ready and audits.too_many_failed(campaign):
        raise AtlasError(
            Reason.CAMPAIGN_STATE,
            f"Nothing is left to look at but {amount(campaign.failed_count, 'volume')} that failed.",
            field="name",
            remedy="Find out why they failed, and start another round.",
        )
    needed, confidence = audits.needed(campaign)
    cases = min(_require_enough(case_count, needed, len(ready)), len(ready))
    campaign.audit_count += 1
    session.add(
        Audit(
            campaign=campaign.id,
            number=campaign.audit_count,
            round=campaign.round,
            volume_count=len(ready),
            case_count=cases,
            confidence=confidence,
            error_count=None,
            bound=None,
            passed=False,
            create_time=now,
        )
    )
    sample = f"{cases} of {amount(len(ready), 'volume')}" if cases else "no volume is left"
    message = f"Audit {campaign.audit_count}: {sample} that nobody has reviewed."
    journal.record(session, campaign, Kind.AUDIT_STARTED, now, message=message, actor=actor)
    _open(session, campaign, ready, cases, now)
    return campaign


def _open(session: Session, campaign: Campaign, ready: Sequence[Ready], cases: int, now: int) -> None:
    cost = pool.cost_model(session)
    candidates = [one.candidate(cost) for one in ready]
    # Not only those with foreground, as in the control arm: labels that are wholly missing are wrong too.
    sample = by_lot(candidates, ranking.lot(campaign, f"audit/{campaign.audit_count}"))[:cases]
    first = ranking.queue_length(session, campaign) + 1
    for place, candidate in enumerate(sample, start=first):
        desk.open_review(session, campaign, Chosen(candidate, Arm.AUDIT), place, now, audit=campaign.audit_count)
    campaign.open_review_count = cases
    if cases:
        campaign.state = State.IN_REVIEW
    else:
        audits.settle(session, campaign, now)


def _require_enough(asked: int, needed: int, volumes: int) -> int:
    if asked < 0 or 0 < asked < min(needed, volumes):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{asked} cases cannot prove the target: {needed} are needed if none is wrong.",
            field="case_count",
            remedy="Leave it out, or give more to leave room for wrong ones.",
        )
    return asked or needed
