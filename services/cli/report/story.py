"""Facts as the words and numbers that the page shows."""

from collections.abc import Callable
from dataclasses import dataclass, field

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli import places
from services.cli.campaign_report import audit_line, gain_lines, strategy_name
from services.cli.report.colours import organ_colour
from services.cli.report.facts import CampaignFacts, CaseFacts
from services.cli.report.scenes import Row
from services.core.classmaps import ClassMap
from services.core.rpc.convert import geometry_from_proto

BADGES = {pb.ORIGIN_SOURCE: "source", pb.ORIGIN_REVISION: "revision", pb.ORIGIN_AI: "AI"}
_REVIEWS = {
    sched.Review.STATE_OPEN: "waiting for a reviewer",
    sched.Review.STATE_CLAIMED: "in review",
    sched.Review.STATE_SUBMITTED: "being merged",
    sched.Review.STATE_WITHDRAWN: "withdrawn",
}
_CAMPAIGNS = {
    sched.Campaign.STATE_RUNNING: "running",
    sched.Campaign.STATE_IN_REVIEW: "in review",
    sched.Campaign.STATE_ROUND_DONE: "round done",
    sched.Campaign.STATE_CANCELLED: "cancelled",
    sched.Campaign.STATE_FINISHED: "finished",
}

MAX_REGIONS = 12
"""Places to look at that a case's table shows."""


@dataclass(frozen=True)
class OrganRow:
    """One line of a case's organ table. Volumes in ml; None where there is nothing to tell."""

    organ: str
    colour: str
    badge: str
    volume_ml: float | None
    before_ml: float | None
    attention_ml: float | None
    note: str


@dataclass(frozen=True)
class RegionRow:
    """One line of a case's list of places to look at."""

    rank: int
    organ: str
    colour: str
    why: tuple[str, ...]
    """What speaks against the label, then what rules found."""
    place: str
    """Centre in the patient, in mm from the CT's origin of coordinates."""
    box: str
    """Size of the box around it along right, anterior and superior, in mm."""
    volume_ml: float
    probability: float


@dataclass(frozen=True)
class CaseStory:
    """One case as the page shows it."""

    anchor: str
    name: str
    rank: int
    priority: int
    share: float
    """Priority over the greatest priority of the campaign, 0 to 1."""
    source_organs: tuple[str, ...]
    top_organs: tuple[str, ...]
    review: str
    revised: bool
    error: str
    origin: str
    grid: str
    notes: tuple[str, ...]
    organs: tuple[OrganRow, ...]
    regions: tuple[RegionRow, ...]
    """Most urgent first."""
    more_regions: int
    """Regions that are not shown."""
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Story:
    """The whole page."""

    name: str
    state: str
    created: str
    figures: tuple[tuple[str, str], ...]
    """Large numbers with their captions."""
    settings: tuple[tuple[str, str], ...]
    models: tuple[tuple[str, str], ...]
    """Name and weights digest."""
    organs: tuple[tuple[str, str], ...]
    """Legend: organ and colour."""
    cases: tuple[CaseStory, ...]
    pictured: int = field(default=0)


Rows = Callable[[CaseFacts], list[Row]]


def tell(facts: CampaignFacts, rows_of: Rows, max_pictured: int) -> Story:
    """The story of a campaign; `rows_of` draws a case, and is asked for the most urgent `max_pictured` only."""
    campaign = facts.campaign
    top = max((case.item.priority for case in facts.cases), default=0)
    stories: list[CaseStory] = []
    pictured = 0
    for case in facts.cases:
        rows: list[Row] = []
        if case.labels and pictured < max_pictured:
            rows = rows_of(case)
            pictured += 1
        stories.append(_case(case, facts.class_map, top, tuple(rows)))
    return Story(
        name=_last(campaign.name),
        state=_CAMPAIGNS.get(campaign.state, "unknown"),
        created=campaign.create_time.ToDatetime().strftime("%d %B %Y, %H:%M UTC"),
        figures=_figures(facts),
        settings=_settings(facts),
        models=tuple((_model(name), facts.weights.get(name, "")) for name in campaign.models),
        organs=tuple((o, organ_colour(o, i)) for i, o in enumerate(facts.class_map.organs)),
        cases=tuple(stories),
        pictured=pictured,
    )


def _case(case: CaseFacts, class_map: ClassMap, top: int, rows: tuple[Row, ...]) -> CaseStory:
    item, volume = case.item, case.volume
    origin = " · ".join(filter(None, (volume.dataset, volume.source_id, volume.licence)))
    return CaseStory(
        anchor=f"case-{_last(item.volume)}",
        name=_last(item.volume),
        rank=item.rank,
        priority=item.priority,
        share=item.priority / top if top else 0.0,
        source_organs=tuple(item.source_organs),
        top_organs=tuple(score.organ for score in case.attention.organs[:3]) if case.attention else (),
        review=_review(case.review),
        revised=case.before is not None,
        error=item.error,
        origin=origin,
        grid=str(geometry_from_proto(volume.geometry)).split(", origin")[0],
        notes=tuple(volume.notes) + (tuple(case.labels.notes) if case.labels else ()),
        organs=_organ_rows(case, class_map),
        regions=_region_rows(case.attention, class_map) if case.attention else (),
        more_regions=max(0, case.attention.region_count - MAX_REGIONS) if case.attention else 0,
        rows=rows,
    )


def _region_rows(attention: pb.AttentionMap, class_map: ClassMap) -> tuple[RegionRow, ...]:
    spacing = geometry_from_proto(attention.heat.geometry).spacing_mm
    return tuple(
        RegionRow(
            rank=region.rank,
            organ=region.organ,
            colour=organ_colour(region.organ, class_map.organs.index(region.organ)),
            why=tuple(places.why(region)),
            place=places.centre(region.centre_mm),
            # The grid of the heat runs along right, anterior and superior.
            box=" x ".join(f"{n * mm:.0f}" for n, mm in zip(region.box.size, spacing, strict=True)),
            volume_ml=region.volume_mm3 / 1000,
            probability=region.probability,
        )
        for region in attention.regions[:MAX_REGIONS]
    )


def _organ_rows(case: CaseFacts, class_map: ClassMap) -> tuple[OrganRow, ...]:
    labels = {organ.organ: organ for organ in case.labels.organs} if case.labels else {}
    before = {organ.organ: organ for organ in case.before.organs} if case.before else {}
    scores = {score.organ: score for score in case.attention.organs} if case.attention else {}
    rows = []
    for index, organ in enumerate(class_map.organs):
        label, old, score = labels.get(organ), before.get(organ), scores.get(organ)
        note = "" if label else "unknown: nobody looked for it"
        if label and not label.voxels:
            note = "looked for, not there"
        rows.append(
            OrganRow(
                organ,
                organ_colour(organ, index),
                BADGES.get(label.origin, "") if label else "",
                label.volume_mm3 / 1000 if label else None,
                old.volume_mm3 / 1000 if old and label and label.origin == pb.ORIGIN_REVISION else None,
                score.attention_mm3 / 1000 if score else None,
                note,
            )
        )
    return tuple(rows)


def _review(review: sched.Review | None) -> str:
    if review is None:
        return ""
    if review.state == sched.Review.STATE_DONE:
        revised = review.decision == sched.Review.DECISION_REVISED
        return f"{'revised' if revised else 'accepted'} by {review.reviewer}"
    return _REVIEWS.get(review.state, "")


def _figures(facts: CampaignFacts) -> tuple[tuple[str, str], ...]:
    labels = [organ.origin for case in facts.cases if case.labels for organ in case.labels.organs]
    counted = [
        (f"{facts.campaign.volume_count:,}", "volumes"),
        (f"{labels.count(pb.ORIGIN_SOURCE):,}", "masks from the source"),
        (f"{labels.count(pb.ORIGIN_AI):,}", "masks from AI"),
        (f"{labels.count(pb.ORIGIN_REVISION):,}", "masks revised by a person"),
        (f"{sum(case.review is not None for case in facts.cases):,}", "volumes sent to review"),
    ]
    if facts.campaign.failed_count:
        counted.append((f"{facts.campaign.failed_count:,}", "volumes failed"))
    return tuple(counted)


def _settings(facts: CampaignFacts) -> tuple[tuple[str, str], ...]:
    campaign = facts.campaign
    settings = [
        ("Class map", campaign.class_map),
        ("Network grid", f"{campaign.grid.spacing_mm:g} mm isotropic"),
        ("Attention profile", campaign.profile),
        ("Strategy", strategy_name(campaign)),
        ("Share sent to review", f"{campaign.review_share:.0%}"),
        ("Share of reviews drawn by lot", f"{campaign.control_share:.0%}"),
        ("Round", str(campaign.round)),
    ]
    ranked = [e for e in facts.events if e.kind == sched.CampaignEvent.KIND_RANKED]
    if facts.events and ranked:
        seconds = ranked[-1].time.ToSeconds() - _round_start(facts, ranked[-1].round)
        settings.append(("Start to ranking", duration(seconds)))
        worked_on = _worked_on(facts, ranked[-1])
        if worked_on:
            settings.append(("Per volume", duration(seconds / worked_on)))
    told = [*gain_lines(facts.report), *map(audit_line, facts.report.audits)] if facts.report.arms else []
    return (*settings, *(("Reviews", line) for line in told))


def _round_start(facts: CampaignFacts, number: int) -> int:
    started = sched.CampaignEvent.KIND_ROUND_STARTED
    return next((e.time.ToSeconds() for e in facts.events if e.round == number and e.kind == started), 0)


def _worked_on(facts: CampaignFacts, ranked: sched.CampaignEvent) -> int:
    """Volumes that a round had merged, or failed at, when it was ranked; later events are about its reviews."""
    ends = (sched.CampaignEvent.KIND_MERGED, sched.CampaignEvent.KIND_FAILED)
    before = facts.events[: facts.events.index(ranked)]
    return len({event.volume for event in before if event.round == ranked.round and event.kind in ends})


def duration(seconds: float) -> str:
    """A span of time for people: "42 s", "3 min 20 s", "5 h 12 min"."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _model(name: str) -> str:
    """ "unet" with version "1" of "models/unet/versions/1"."""
    _, model, _, version = name.split("/")
    return f"{model}, version {version}"
