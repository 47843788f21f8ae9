"""When a campaign may stop, and what it reports, on both databases."""

import pytest

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler import journal, messages, rounds, sampling
from services.scheduler.campaigns import Arm, Kind, State
from services.scheduler.database import Database
from tests.scheduler.rounds_of import Campaign, volumes


def done(database: Database, count: int = 40, **asked: object) -> Campaign:
    """A campaign whose first round reviewed nobody; at 20 %, an audit of 17 cases without an error is enough."""
    asked = {"review_share": 0.0, "target_error_share": 0.2, **asked}
    campaign = Campaign(database, volumes(count), **asked)
    campaign.score()
    return campaign


def test_an_audit_without_an_error_finishes_the_campaign(database: Database) -> None:
    campaign = done(database)
    plan = campaign.report().next_audit
    assert (plan.case_count, plan.volume_count, plan.confidence) == (17, 40, 0.975)
    assert plan.expected_time.seconds == 17 * 15 * 60
    campaign.audit()
    assert campaign.messages(Kind.AUDIT_STARTED) == ["Audit 1: 17 of 40 volumes that nobody has reviewed."]
    assert {review.arm for review in campaign.open()} == {Arm.AUDIT}
    for review in campaign.open():
        assert campaign.state() == State.IN_REVIEW
        campaign.review(review)
    assert campaign.state() == State.FINISHED
    (found,) = campaign.report().audits
    assert (found.case_count, found.done_count, found.error_count, found.passed) == (17, 17, 0, True)
    assert found.error_share_bound == pytest.approx(1 - 0.025 ** (1 / 17))
    assert campaign.messages(Kind.AUDIT_DONE) == [
        "0 of 17 cases were wrong. At most 19.51% of the 40 volumes that nobody had reviewed before were, with 97.50% "
        "confidence, and 20.00% were allowed: the campaign is finished."
    ]
    assert not campaign.report().HasField("next_audit")
    with pytest.raises(AtlasError) as refused, database.change() as session:
        rounds.start_next(session, "c", 0, "", campaign.now)
    assert refused.value.reason == Reason.CAMPAIGN_STATE
    with database.change() as session:
        assert rounds.cancel(session, "c", "", campaign.now).state == State.FINISHED


def test_an_error_sends_the_campaign_into_another_round_and_the_next_audit_is_held_to_more(database: Database) -> None:
    campaign = done(database, count=60)
    campaign.audit()
    first, *rest = campaign.open()
    campaign.review(first, revised_mm3=50.0)
    for review in rest:
        campaign.review(review)
    assert campaign.state() == State.ROUND_DONE
    (found,) = campaign.report().audits
    assert (found.error_count, found.passed) == (1, False)
    # 1 of 17 at 97.5 %, one-sided.
    assert found.error_share_bound == pytest.approx(0.2869, abs=1e-4)
    campaign.next_round()
    plan = campaign.report().next_audit
    assert (plan.case_count, plan.volume_count, plan.confidence) == (20, 43, 0.9875)
    campaign.audit()
    assert len(campaign.open()) == 20
    assert {review.volume for review in campaign.open()}.isdisjoint({first.volume, *(r.volume for r in rest)})
    for review in campaign.open():
        campaign.review(review)
    assert campaign.state() == State.FINISHED
    assert [(found.number, found.round, found.passed) for found in campaign.report().audits] == [
        (1, 1, False),
        (2, 2, True),
    ]


def test_a_larger_sample_leaves_room_for_errors(database: Database) -> None:
    """3 of 40 at 97.5 % bound the share at 20.4 %, 2 of 40 at 16.9 %."""
    campaign = done(database, count=60)
    campaign.audit(cases=40)
    for place, review in enumerate(campaign.open()):
        campaign.review(review, revised_mm3=50.0 if place < 2 else None)
    assert campaign.state() == State.FINISHED


@pytest.mark.parametrize(
    ("tolerance", "revised_mm3", "known", "wrong"),
    [
        # FACTS says 10 000 mm^3 of labelled tissue.
        (0.0, 1.0, True, True),
        (0.01, 100.0, True, False),
        (0.01, 101.0, True, True),
        (0.01, 1.0, False, True),
    ],
)
def test_a_case_is_wrong_when_more_than_the_tolerated_share_was_changed(
    database: Database, tolerance: float, revised_mm3: float, known: bool, wrong: bool
) -> None:
    campaign = done(database, tolerance=tolerance)
    campaign.audit()
    for review in campaign.open():
        campaign.review(review, revised_mm3=revised_mm3, known=known)
    (found,) = campaign.report().audits
    assert found.error_count == (17 if wrong else 0)
    assert found.passed is not wrong


def test_who_has_looked_at_everything_is_finished(database: Database) -> None:
    """Fewer volumes than an audit takes: all are looked at, and what was wrong is right now."""
    campaign = done(database, count=3)
    campaign.audit()
    for review in campaign.open():
        campaign.review(review, revised_mm3=9000.0)
    assert campaign.state() == State.FINISHED
    (found,) = campaign.report().audits
    assert (found.case_count, found.error_count, found.error_share_bound, found.passed) == (3, 3, 0.0, True)
    assert campaign.messages(Kind.AUDIT_DONE) == [
        "3 of 3 cases were wrong. Every volume has been looked at: the campaign is finished."
    ]


def test_without_a_volume_left_unseen_an_audit_ends_at_once(database: Database) -> None:
    campaign = Campaign(database, volumes(2), review_share=1.0)
    campaign.score()
    for review in campaign.open():
        campaign.review(review)
    assert campaign.state() == State.ROUND_DONE
    campaign.audit()
    assert campaign.state() == State.FINISHED


def test_labels_that_are_wholly_missing_are_audited_too(database: Database) -> None:
    campaign = done(database, count=3)
    campaign.facts = {}
    blank = Campaign(database, volumes(3), name="blank", review_share=0.0)
    blank.facts = {name: {"organs_mm3": {}} for name in volumes(3)}
    blank.score()
    with database.change() as session:
        sampling.start_audit(session, "blank", 0, "", 0, blank.now)
    assert len(blank.open()) == 3


def test_an_audit_that_is_named_is_started_once(database: Database) -> None:
    campaign = done(database)
    with database.read() as session:
        etag = str(journal.find(session, "c").version)
    campaign.audit(number=1, etag=etag)
    campaign.audit(number=1, etag=etag)
    campaign.audit(number=1)
    assert len(campaign.all()) == 17
    with database.read() as session:
        (event,) = [e for e in journal.after(session, "c", 0, 1000) if e.kind == Kind.AUDIT_STARTED]
        assert event.actor == "opal"


@pytest.mark.parametrize(
    ("number", "cases", "etag", "reason", "field"),
    [
        (2, 0, "", Reason.FIELD_INVALID, "number"),
        (-1, 0, "", Reason.FIELD_INVALID, "number"),
        (0, 16, "", Reason.FIELD_INVALID, "case_count"),
        (0, -1, "", Reason.FIELD_INVALID, "case_count"),
        (0, 0, "0", Reason.ETAG_MISMATCH, "etag"),
    ],
)
def test_an_audit_that_could_not_prove_anything_is_refused(
    database: Database, number: int, cases: int, etag: str, reason: Reason, field: str
) -> None:
    campaign = done(database)
    with pytest.raises(AtlasError) as refused:
        campaign.audit(number, cases, etag)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert campaign.all() == []


def test_an_audit_waits_for_the_reviews_of_the_round(database: Database) -> None:
    campaign = Campaign(database, volumes(4), review_share=0.5)
    campaign.score()
    with pytest.raises(AtlasError) as refused:
        campaign.audit()
    assert refused.value.reason == Reason.CAMPAIGN_STATE


def test_a_cancelled_audit_proves_nothing(database: Database) -> None:
    campaign = done(database)
    campaign.audit()
    campaign.review(campaign.open()[0])
    with database.change() as session:
        rounds.cancel(session, "c", "", campaign.now, "opal")
    (found,) = campaign.report().audits
    assert not found.HasField("error_share_bound")
    assert not found.passed
    assert campaign.state() == State.CANCELLED


def test_the_report_compares_the_arms(database: Database) -> None:
    """What the strategy wants is revised by 9 ml in 12 minutes; what the lot drew is accepted in 4."""
    campaign = Campaign(database, volumes(40), review_share=0.5, control_share=0.2, budget_cases=25)
    campaign.score()
    assert [arm.review_count for arm in campaign.report().arms] == [16, 4]
    assert campaign.report().gains == []
    for review in campaign.open():
        is_wanted = review.arm == Arm.STRATEGY
        campaign.review(review, revised_mm3=9000.0 if is_wanted else None, minutes=12 if is_wanted else 4)
    found = campaign.report()
    strategy, control = found.arms
    assert (strategy.arm, strategy.done_count, strategy.revised_count) == (pb.Review.ARM_STRATEGY, 16, 16)
    assert (strategy.revised_mm3, strategy.measured_count) == (144_000, 16)
    assert strategy.active_time.seconds == 16 * 12 * 60
    assert (control.arm, control.done_count, control.revised_count, control.revised_mm3) == (
        pb.Review.ARM_CONTROL,
        4,
        0,
        0,
    )
    gains = {gain.measure: gain for gain in found.gains}
    share = gains[pb.Gain.MEASURE_REVISED_SHARE]
    assert (share.strategy, share.control, share.difference) == (1, 0, 1)
    assert 0.4 < share.lower < share.upper <= 1
    case = gains[pb.Gain.MEASURE_REVISED_MM3_PER_CASE]
    assert (case.difference, case.lower, case.upper) == pytest.approx((9000, 9000, 9000))
    assert case.confidence == 0.95
    minute = gains[pb.Gain.MEASURE_REVISED_MM3_PER_MINUTE]
    assert minute.difference == pytest.approx(9000 / 12)
    assert found.cases_left == 5
    assert found.cost_review_count == 20


def test_an_arm_is_told_once_the_review_is_done(database: Database) -> None:
    campaign = Campaign(database, volumes(10), review_share=1.0)
    campaign.score()
    assert {messages.review(row, campaign.now).arm for row in campaign.all()} == {pb.Review.ARM_UNSPECIFIED}
    for review in campaign.open():
        campaign.review(review)
    assert {messages.review(row, campaign.now).arm for row in campaign.all()} == {
        pb.Review.ARM_STRATEGY,
        pb.Review.ARM_CONTROL,
    }
