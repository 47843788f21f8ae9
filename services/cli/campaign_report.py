"""What a campaign's reviews have brought, in lines for people."""

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from services.cli.merge_words import described
from services.core.texts import amount

STRATEGIES = {
    name.removeprefix("STRATEGY_").lower().replace("_", "-"): value
    for name, value in sched.Campaign.Strategy.items()
    if value
}
"""By the names that people type, such as "error-per-minute"."""
_MM3_PER_ML = 1000.0
_MEASURES = {
    sched.Gain.MEASURE_REVISED_SHARE: ("cases revised", 100.0, "%"),
    sched.Gain.MEASURE_REVISED_MM3_PER_CASE: ("relabelled a case", 1 / _MM3_PER_ML, "ml"),
    sched.Gain.MEASURE_REVISED_MM3_PER_MINUTE: ("relabelled a minute", 1 / _MM3_PER_ML, "ml"),
}


def report_lines(campaign: sched.Campaign, report: sched.CampaignReport) -> Iterator[str]:
    """Strategy and budget, the arms, the gain, the audits and the next one."""
    yield f"Strategy: {strategy_name(campaign)}; {campaign.control_share:.0%} of the reviews are drawn by lot."
    if campaign.HasField("merge_policy"):
        yield f"Merging: {described(campaign.merge_policy)}."
    budget = budget_line(campaign, report)
    if budget:
        yield budget
    learnt = report.cost_review_count
    yield (
        f"Cost of a review: learnt from {learnt} finished so far." if learnt else "Cost of a review: 15 min, the prior."
    )
    if report.norms:
        yield f"Expected error in ml, median and 90th percentile: {', '.join(map(_norm, report.norms))}."
    yield from (_arm(arm) for arm in report.arms)
    yield from gain_lines(report)
    policy = campaign.audit_policy
    aim = f"at most {policy.target_error_share:.2%} wrong of the volumes that nobody had reviewed before an audit"
    failed = f"at most {policy.target_error_share:.2%} of all volumes failed"
    yield f"Aim: {aim}, with {policy.confidence:.2%} confidence, and {failed}."
    yield from (audit_line(audit) for audit in report.audits)
    if report.HasField("next_audit"):
        yield from _next_audit(campaign, report.next_audit)


def strategy_name(campaign: sched.Campaign) -> str:
    """As it is typed; empty if it is not set."""
    return next((name for name, value in STRATEGIES.items() if value == campaign.strategy), "")


def budget_line(campaign: sched.Campaign, report: sched.CampaignReport) -> str:
    """The budget and what is left of it; empty without one."""
    kind = campaign.WhichOneof("budget")
    if kind == "budget_cases":
        return f"Budget: {amount(campaign.budget_cases, 'case')}, {report.cases_left} left."
    if kind == "budget_time":
        return f"Budget: {_minutes(campaign.budget_time):.0f} min, {_minutes(report.time_left):.0f} left."
    return ""


def gain_lines(report: sched.CampaignReport) -> Iterator[str]:
    """What the strategy gained over drawing by lot, a measure a line; one line if nothing can be said yet."""
    if not report.gains:
        yield "Gain over drawing by lot: not known before both arms have finished reviews."
    for gain in report.gains:
        name, scale, unit = _MEASURES[gain.measure]
        strategy, control, difference, lower, upper = (
            scale * value for value in (gain.strategy, gain.control, gain.difference, gain.lower, gain.upper)
        )
        yield (
            f"Gain, {name}: {strategy:.3g} {unit} against {control:.3g} {unit} by lot, {difference:+.3g} {unit} "
            f"({gain.confidence:.0%} interval {lower:+.3g} to {upper:+.3g})."
        )


def audit_line(audit: sched.Audit) -> str:
    """One audit and what it proves."""
    if not audit.case_count:
        return f"Audit {audit.number}: no volume was left to look at: passed."
    if not audit.done_count:
        return f"Audit {audit.number}: {amount(audit.case_count, 'case')} to look at, none looked at yet."
    seen = f"Audit {audit.number}: {audit.error_count} of {audit.done_count} cases wrong"
    if not audit.HasField("error_share_bound"):
        return f"{seen}, {audit.case_count - audit.done_count} still to be looked at."
    among = f"{amount(audit.volume_count, 'volume')} that nobody had reviewed before"
    if audit.case_count == audit.volume_count:
        return f"{seen}; all {among} were looked at."
    bound = f"at most {audit.error_share_bound:.2%} of the {among} were, with {audit.confidence:.2%} confidence"
    return f"{seen}; {bound}: {'passed' if audit.passed else 'not passed'}."


def _next_audit(campaign: sched.Campaign, plan: sched.AuditPlan) -> Iterator[str]:
    """What it takes; of a round whose volumes are still worked on nothing is known."""
    if plan.volume_count:
        yield (
            f"The next audit takes {plan.case_count} of {amount(plan.volume_count, 'unseen case')}, about "
            f"{_minutes(plan.expected_time):.0f} min, if none of them is wrong."
        )
    elif campaign.state == sched.Campaign.STATE_ROUND_DONE and campaign.failed_count:
        yield f"Nothing is left to look at but {amount(campaign.failed_count, 'volume')} that failed in this round."
    elif campaign.state == sched.Campaign.STATE_ROUND_DONE:
        yield "No unseen case is left: the next audit finishes the campaign."


def _norm(norm: sched.OrganNorm) -> str:
    median, high = (mm3 / _MM3_PER_ML for mm3 in (norm.median_mm3, norm.high_mm3))
    return f"{norm.organ} {median:.1f} and {high:.1f} in {norm.volume_count}"


def _arm(arm: sched.ArmReport) -> str:
    name = sched.Review.Arm.Name(arm.arm).removeprefix("ARM_").lower()
    parts = [f"{arm.done_count} of {arm.review_count} reviews done", f"{arm.revised_count} revised"]
    if arm.measured_count:
        parts.append(f"{arm.revised_mm3 / _MM3_PER_ML:.1f} ml relabelled")
    minutes = _minutes(arm.active_time)
    parts.append(f"{minutes:.0f} min" if minutes >= 10 else f"{minutes:.1f} min")
    return f"{name.capitalize()} arm: {', '.join(parts)}."


def _minutes(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds() / 60
