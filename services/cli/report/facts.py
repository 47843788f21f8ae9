"""What the report tells, read from the catalog and the scheduler, without a voxel."""

from dataclasses import dataclass

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.paging import every
from services.cli.watching import RESTING
from services.core import classmaps
from services.core.classmaps import ClassMap


@dataclass(frozen=True)
class CaseFacts:
    """One volume of the campaign."""

    item: sched.CampaignItem
    volume: pb.Volume
    labels: pb.LabelVersion | None
    attention: pb.AttentionMap | None
    review: sched.Review | None
    """Its newest review."""
    before: pb.LabelVersion | None
    """The labels that the reviewer looked at, if the review revised them."""


@dataclass(frozen=True)
class CampaignFacts:
    """The campaign and its volumes, most urgent first."""

    campaign: sched.Campaign
    class_map: ClassMap
    weights: dict[str, str]
    """SHA-256 of the weights by model name."""
    cases: tuple[CaseFacts, ...]
    events: tuple[sched.CampaignEvent, ...]
    """All events, if the campaign rests; none while it runs."""
    report: sched.CampaignReport


def read_facts(connection: Connection, name: str) -> CampaignFacts:
    """Everything the report needs about a campaign."""
    scheduler = connection.scheduler
    campaign = scheduler.GetCampaign(sched.GetCampaignRequest(name=name)).campaign
    reviews: dict[str, sched.Review] = {}
    for review in every(scheduler.ListReviews, sched.ListReviewsRequest(parent=name), "reviews"):
        if review.volume not in reviews or review.round > reviews[review.volume].round:
            reviews[review.volume] = review
    items = every(scheduler.ListItems, sched.ListItemsRequest(parent=name), "items")
    cases = tuple(_case(connection, item, reviews.get(item.volume)) for item in items)
    events: tuple[sched.CampaignEvent, ...] = ()
    if campaign.state in RESTING:
        events = tuple(m.event for m in scheduler.WatchCampaign(sched.WatchCampaignRequest(name=name)))
    report = scheduler.GetCampaignReport(sched.GetCampaignReportRequest(name=name)).report
    class_map = classmaps.load(campaign.class_map)
    return CampaignFacts(campaign, class_map, _weights(connection, cases), cases, events, report)


def _case(connection: Connection, item: sched.CampaignItem, review: sched.Review | None) -> CaseFacts:
    rpc = connection.storage.rpc
    attention = None
    if item.attention_map:
        attention = rpc.GetAttentionMap(pb.GetAttentionMapRequest(name=item.attention_map)).attention_map
    revised = review is not None and review.decision == sched.Review.DECISION_REVISED and bool(review.result)
    return CaseFacts(
        item,
        rpc.GetVolume(pb.GetVolumeRequest(name=item.volume)).volume,
        _labels(connection, item.label_version) if item.label_version else None,
        attention,
        review,
        _labels(connection, review.label_version) if review and revised else None,
    )


def _labels(connection: Connection, name: str) -> pb.LabelVersion:
    return connection.storage.rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version


def _weights(connection: Connection, cases: tuple[CaseFacts, ...]) -> dict[str, str]:
    """The models as the first predicted case tells them; all cases of a campaign have the same."""
    predictions = next((case.item.predictions for case in cases if case.item.predictions), ())
    answers = (connection.storage.rpc.GetPrediction(pb.GetPredictionRequest(name=n)).prediction for n in predictions)
    return {prediction.model.name: prediction.model.weights_sha256 for prediction in answers}
