"""What a release of a campaign holds: read from the catalog, without a voxel."""

from dataclasses import dataclass

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.paging import every
from services.cli.release.split import Lot, split
from services.core import classmaps
from services.core.errors import AtlasError, Reason

FORMAT = 3
"""It grows whenever the same contents would give other files."""


@dataclass(frozen=True)
class ReleaseCase:
    """One case of a release."""

    number: int
    volume: pb.Volume
    labels: pb.LabelVersion
    predictions: dict[str, pb.Prediction]
    """Predictions that went into the labels, by name."""
    given: dict[str, pb.LabelVersion]
    """Source and revision versions that went into the labels, by name; those of several readers among them."""
    reviews: tuple[sched.Review, ...]
    """Reviews of the volume in this campaign that are done, oldest first."""

    @property
    def name(self) -> str:
        """Folder of the case."""
        return f"BDMAP_{self.number:08d}"

    def models(self, organ: pb.OrganLabel) -> list[pb.ModelRef]:
        """The models that an AI mask of the labels was made of."""
        return [self.predictions[name].model for name in organ.predictions] or list(organ.models)


@dataclass(frozen=True)
class Contents:
    """A whole release."""

    campaign: sched.Campaign
    class_map: classmaps.ClassMap
    cases: tuple[ReleaseCase, ...]
    left_out: dict[str, str]
    """Volumes of the campaign without labels or withdrawn, and why."""
    sides: dict[str, str]
    """Whether a volume, by name, is for training or for testing."""
    lot: Lot
    """How that was drawn."""


def read_contents(connection: Connection, campaign: str, lot: Lot = Lot()) -> Contents:  # noqa: B008 - immutable
    """The release of a campaign as it stands: its newest merged labels, cases numbered in the order of volume names.

    Raises CAMPAIGN_STATE if no volume has labels yet.
    """
    record = connection.scheduler.GetCampaign(sched.GetCampaignRequest(name=campaign)).campaign
    items = sorted(
        every(connection.scheduler.ListItems, sched.ListItemsRequest(parent=campaign), "items"),
        key=lambda item: item.volume,
    )
    reviews = sorted(
        every(connection.scheduler.ListReviews, sched.ListReviewsRequest(parent=campaign), "reviews"),
        key=lambda review: (review.round, review.name),
    )
    done = [review for review in reviews if review.state == sched.Review.STATE_DONE]
    labelled = [item for item in items if item.label_version]
    if not labelled:
        raise AtlasError(
            Reason.CAMPAIGN_STATE,
            "No volume of this campaign has labels yet.",
            field=campaign,
            remedy="Follow it with `atlas campaign watch`.",
        )
    left_out = {item.volume: item.error or "no labels yet" for item in items if not item.label_version}
    found = [_case(connection, number, item, done) for number, item in enumerate(labelled, start=1)]
    withdrawn = [case.volume for case in found if case.volume.HasField("withdrawal")]
    left_out |= {volume.name: f"withdrawn: {volume.withdrawal.reason}" for volume in withdrawn}
    # A case keeps its number when another one is withdrawn.
    cases = tuple(case for case in found if case.volume not in withdrawn)
    if not cases:
        message = "Every labelled volume of this campaign was withdrawn."
        remedy = "Make a campaign of other volumes."
        raise AtlasError(Reason.CAMPAIGN_STATE, message, field=campaign, remedy=remedy)
    groups = every(
        connection.storage.rpc.ListDuplicateGroups, pb.ListDuplicateGroupsRequest(show_withdrawn=True), "groups"
    )
    digests = {case.volume.name: case.volume.voxel_digest for case in cases}
    sides = split(digests, [group.volumes for group in groups], lot)
    return Contents(record, classmaps.load(cases[0].labels.class_map), cases, left_out, sides, lot)


def _case(connection: Connection, number: int, item: sched.CampaignItem, reviews: list[sched.Review]) -> ReleaseCase:
    rpc = connection.storage.rpc
    volume = rpc.GetVolume(pb.GetVolumeRequest(name=item.volume)).volume
    labels = rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=item.label_version)).label_version
    predictions = {name: None for organ in labels.organs for name in organ.predictions}
    versions = {name: None for organ in labels.organs for name in (organ.label_version, *organ.readers) if name}
    return ReleaseCase(
        number,
        volume,
        labels,
        {name: rpc.GetPrediction(pb.GetPredictionRequest(name=name)).prediction for name in predictions},
        {name: rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version for name in versions},
        tuple(review for review in reviews if review.volume == item.volume),
    )
