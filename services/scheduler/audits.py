"""Audits in the database: what they are about, and what becomes of a campaign when the last review of one is done."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.texts import amount
from services.scheduler import facts, journal
from services.scheduler.acquisition.audit import cases_needed, level, upper_bound
from services.scheduler.campaigns import Kind, State
from services.scheduler.reviews import Decision
from services.scheduler.reviews import State as ReviewState
from services.scheduler.tables import Audit, Campaign, Review


def history(session: Session, campaign: str) -> list[Audit]:
    """All audits of a campaign, oldest first."""
    return list(session.scalars(select(Audit).where(Audit.campaign == campaign).order_by(Audit.number)))


def needed(campaign: Campaign) -> tuple[int, float]:
    """How many cases the next audit takes if none is wrong, and what confidence it is held to."""
    confidence = level(campaign.audit_confidence, campaign.audit_count + 1)
    return cases_needed(campaign.target_error_share, confidence), confidence


def too_many_failed(campaign: Campaign) -> bool:
    """Whether more of all volumes have failed than may be wrong of those that nobody had reviewed."""
    return campaign.failed_count / campaign.volume_count > campaign.target_error_share


def is_wrong(review: Review, tolerance: float) -> bool:
    """Whether a finished review found its case wrong: revised, by more than the tolerated share of labelled tissue.

    A revision whose size is not known counts.
    """
    if review.decision != Decision.REVISED:
        return False
    labelled = facts.labelled_mm3(review.facts)
    if tolerance == 0 or review.revised_mm3 is None or labelled == 0:
        return True
    return review.revised_mm3 / labelled > tolerance


def settle(session: Session, campaign: Campaign, now: int) -> bool:
    """Close the audit of a locked campaign in which no review is open; False if there is none.

    The campaign is then finished, or its round is done: also if too many volumes failed, for another round may still
    make labels of them.
    """
    audit = session.scalar(select(Audit).where(Audit.campaign == campaign.id, Audit.bound.is_(None)))
    if audit is None:
        return False
    mine = (Review.campaign == campaign.id) & (Review.audit == audit.number) & (Review.state == ReviewState.DONE)
    errors = sum(is_wrong(review, campaign.tolerance) for review in session.scalars(select(Review).where(mine)))
    unseen = audit.volume_count - audit.case_count
    audit.error_count = errors
    # Where every volume was looked at, what was wrong is right now.
    audit.bound = upper_bound(errors, audit.case_count, audit.confidence) if unseen else 0.0
    audit.passed = audit.bound <= campaign.target_error_share
    is_finished = audit.passed and not too_many_failed(campaign)
    campaign.state = State.FINISHED if is_finished else State.ROUND_DONE
    journal.record(session, campaign, Kind.AUDIT_DONE, now, message=_verdict(audit, campaign, unseen))
    return True


def _verdict(audit: Audit, campaign: Campaign, unseen: int) -> str:
    then = "the campaign is finished" if campaign.state == State.FINISHED else "go on with another round"
    found = f"{audit.error_count} of {audit.case_count} cases were wrong. " if audit.case_count else ""
    failed = f"{amount(campaign.failed_count, 'volume')} that failed" if campaign.failed_count else ""
    if not unseen:
        left = f"Nothing is left to look at but {failed}" if failed else "Every volume has been looked at"
        return f"{found}{left}: {then}."
    among = f"the {amount(audit.volume_count, 'volume')} that nobody had reviewed before"
    bound = f"At most {audit.bound:.2%} of {among} were, with {audit.confidence:.2%} confidence"
    target = f"{campaign.target_error_share:.2%}"
    allowed = f"{found}{bound}, and {target} {'were' if audit.passed else 'are'} allowed"
    if too_many_failed(campaign):
        return f"{allowed}. In no sample: {failed}, more than {target} of all: {then}."
    return f"{allowed}: {then}." + (f" In no sample: {failed}." if failed else "")
