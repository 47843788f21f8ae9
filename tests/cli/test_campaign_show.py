"""What `atlas campaign show` and the report page say of a campaign's reviews, and what `audit` and `create` ask for."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from google.protobuf.duration_pb2 import Duration
from typer.testing import CliRunner

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.campaign_display import summary
from services.cli.campaign_report import audit_line, report_lines
from services.cli.commands.campaigns import register
from services.cli.connection import Connection
from services.cli.report.facts import read_facts
from services.cli.report.story import tell
from services.core.texts import amount
from tests.cli.archive import CAMPAIGN, Archive


def minutes(number: int) -> Duration:
    return Duration(seconds=60 * number)


CAMPAIGN_MESSAGE = sched.Campaign(
    name=CAMPAIGN,
    state=sched.Campaign.STATE_ROUND_DONE,
    strategy=sched.Campaign.STRATEGY_ERROR_PER_MINUTE,
    control_share=0.1,
    budget_time=minutes(600),
    audit_policy=sched.AuditPolicy(target_error_share=0.05, confidence=0.95),
    audit_count=1,
)
REPORT = sched.CampaignReport(
    campaign=CAMPAIGN,
    arms=[
        sched.ArmReport(
            arm=sched.Review.ARM_STRATEGY,
            review_count=9,
            done_count=8,
            revised_count=7,
            revised_mm3=56_000,
            measured_count=8,
            active_time=minutes(96),
        ),
        sched.ArmReport(arm=sched.Review.ARM_CONTROL, review_count=1, done_count=1, active_time=minutes(5)),
    ],
    gains=[
        sched.Gain(
            measure=sched.Gain.MEASURE_REVISED_SHARE,
            strategy=0.875,
            control=0.0,
            difference=0.875,
            lower=0.01,
            upper=0.98,
            confidence=0.95,
        )
    ],
    audits=[
        sched.Audit(
            number=1,
            volume_count=972,
            case_count=72,
            done_count=72,
            error_count=2,
            confidence=0.975,
            error_share_bound=0.0968,
            passed=False,
        ),
        sched.Audit(number=2, volume_count=900, case_count=85, done_count=80, error_count=0, confidence=0.9875),
    ],
    next_audit=sched.AuditPlan(case_count=85, volume_count=900, confidence=0.9875, expected_time=minutes(1275)),
    time_left=minutes(499),
    cost_review_count=9,
    norms=[
        sched.OrganNorm(organ="liver", volume_count=900, median_mm3=1500, high_mm3=12_000),
        sched.OrganNorm(organ="pancreas", volume_count=640, median_mm3=800, high_mm3=5_250),
    ],
)


def test_the_report_in_lines() -> None:
    assert list(report_lines(CAMPAIGN_MESSAGE, REPORT)) == [
        "Strategy: error-per-minute; 10% of the reviews are drawn by lot.",
        "Budget: 600 min, 499 left.",
        "Cost of a review: learnt from 9 finished so far.",
        "Expected error in ml, median and 90th percentile: liver 1.5 and 12.0 in 900, pancreas 0.8 and 5.2 in 640.",
        "Strategy arm: 8 of 9 reviews done, 7 revised, 56.0 ml relabelled, 96 min.",
        "Control arm: 1 of 1 reviews done, 0 revised, 5.0 min.",
        "Gain, cases revised: 87.5 % against 0 % by lot, +87.5 % (95% interval +1 to +98).",
        "Aim: at most 5.00% wrong of the volumes that nobody had reviewed before an audit, with 95.00% confidence, "
        "and at most 5.00% of all volumes failed.",
        "Audit 1: 2 of 72 cases wrong; at most 9.68% of the 972 volumes that nobody had reviewed before were, "
        "with 97.50% confidence: not passed.",
        "Audit 2: 0 of 80 cases wrong, 5 still to be looked at.",
        "The next audit takes 85 of 900 unseen cases, about 1275 min, if none of them is wrong.",
    ]


def test_an_audit_of_all_that_was_unseen_leaves_nothing_to_bound() -> None:
    """Nor does it say that everything was looked at: volumes that failed were not."""
    audit = sched.Audit(number=1, case_count=4, volume_count=4, done_count=4, error_count=3, passed=True)
    audit.error_share_bound = 0
    told = "Audit 1: 3 of 4 cases wrong; all 4 volumes that nobody had reviewed before were looked at."
    assert audit_line(audit) == told
    failed = sched.Campaign(state=sched.Campaign.STATE_ROUND_DONE, failed_count=5)
    report = sched.CampaignReport(audits=[audit], next_audit=sched.AuditPlan())
    assert list(report_lines(failed, report))[-2:] == [
        told,
        "Nothing is left to look at but 5 volumes that failed in this round.",
    ]


def test_an_audit_that_nobody_has_begun_counts_nothing_yet() -> None:
    assert audit_line(sched.Audit(number=1, case_count=1, volume_count=9)) == (
        "Audit 1: 1 case to look at, none looked at yet."
    )
    nothing = sched.Audit(number=2, passed=True, error_share_bound=0)
    assert audit_line(nothing) == "Audit 2: no volume was left to look at: passed."


def test_an_audit_of_nothing_is_not_asked_for() -> None:
    """While volumes are worked on nobody knows; afterwards it would finish the campaign, unless volumes failed."""
    report, running = sched.CampaignReport(next_audit=sched.AuditPlan()), sched.Campaign.STATE_RUNNING
    assert not [line for line in report_lines(sched.Campaign(state=running), report) if "next audit" in line]
    assert list(report_lines(CAMPAIGN_MESSAGE, report))[-1] == (
        "No unseen case is left: the next audit finishes the campaign."
    )
    failed = sched.Campaign(state=sched.Campaign.STATE_ROUND_DONE, failed_count=5)
    assert list(report_lines(failed, report))[-1] == (
        "Nothing is left to look at but 5 volumes that failed in this round."
    )


def test_one_is_not_told_as_many() -> None:
    one = sched.Campaign(name=CAMPAIGN, budget_cases=1, open_review_count=1, volume_count=3)
    assert "Budget: 1 case, 1 left." in list(report_lines(one, sched.CampaignReport(cases_left=1)))
    assert summary(one).endswith("1 review open.")
    assert [amount(number, "case") for number in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]


def test_before_any_review_nothing_is_claimed() -> None:
    lines = list(report_lines(sched.Campaign(strategy=sched.Campaign.STRATEGY_PRIORITY), sched.CampaignReport()))
    assert "Cost of a review: 15 min, the prior." in lines
    assert "Gain over drawing by lot: not known before both arms have finished reviews." in lines


def test_the_report_page_tells_gain_and_audits(archive: Archive) -> None:
    archive.report.CopyFrom(REPORT)
    story = tell(read_facts(archive.connection, CAMPAIGN), lambda _: [], 0)
    told = [text for name, text in story.settings if name == "Reviews"]
    assert [text.split(":")[0] for text in told] == ["Gain, cases revised", "Audit 1", "Audit 2"]
    assert ("Strategy", "priority") in story.settings


class Scheduler:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def call(request: Any) -> Any:
            self.asked.append(request)
            return SimpleNamespace(campaign=CAMPAIGN_MESSAGE, report=REPORT)

        return call


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    """Return what the command talks to."""
    scheduler = Scheduler()
    monkeypatch.setattr(Connection, "to", lambda _: cast(Connection, SimpleNamespace(scheduler=scheduler)))
    return scheduler


def atlas(*words: str, code: int = 0) -> str:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["campaign", *words])
    assert result.exit_code == code, result.output
    return result.stdout


def test_show_prints_what_the_scheduler_reports(scheduler: Scheduler) -> None:
    assert "Budget: 600 min, 499 left." in atlas("show", "first")
    assert '"cost_review_count":"9"' in atlas("show", "first", "--json")


def test_an_audit_is_named_so_that_no_repetition_draws_another_sample(scheduler: Scheduler) -> None:
    atlas("audit", "first", "--cases", "100")
    assert scheduler.asked[-1] == sched.StartAuditRequest(name=CAMPAIGN, number=2, case_count=100)


def test_what_is_asked_about_reviews_is_asked_of_the_scheduler(scheduler: Scheduler) -> None:
    atlas("create", "first", "--volumes", "a", "--strategy", "error-per-minute", "--budget-minutes", "90")
    asked = scheduler.asked[-1]
    assert (asked.strategy, asked.budget_time) == (sched.Campaign.STRATEGY_ERROR_PER_MINUTE, minutes(90))
    assert not asked.HasField("review_share")
    options = ("--budget-cases", "20", "--control-share", "0.2", "--audit-target", "0.02", "--audit-tolerance", "0.01")
    atlas("create", "first", "--volumes", "a", *options)
    asked = scheduler.asked[-1]
    assert (asked.budget_cases, asked.control_share) == (20, 0.2)
    assert asked.audit_policy == sched.AuditPolicy(target_error_share=0.02, confidence=0.95, tolerance=0.01)


def test_a_strategy_that_is_not_there_is_refused(scheduler: Scheduler) -> None:
    atlas("create", "first", "--volumes", "a", "--strategy", "luck", code=1)
    assert scheduler.asked == []


def test_a_budget_is_in_one_unit(scheduler: Scheduler) -> None:
    atlas("create", "first", "--volumes", "a", "--budget-cases", "2", "--budget-minutes", "9", code=1)
    assert scheduler.asked == []
