"""A scripted reviewer who knows the synthetic truth."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf.duration_pb2 import Duration

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.masks import uint8_channel
from services.cli.paging import every
from services.cli.reviewing import NOTE, Note, changed_masks, download, mask_files, upload_revision
from services.cli.watching import follow
from services.core import classmaps, metrics
from services.core.errors import AtlasError, Reason
from services.core.nifti import read_header, write_mask

NAME = "scripted reviewer"
Masks = dict[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Outcome:
    """DSC per organ that the AI had labelled and the truth has, before and after the review."""

    before: dict[str, float]
    after: dict[str, float]


def repair(connection: Connection, review: sched.Review, truth: Masks, folder: Path) -> None:
    """Claim a review, replace the organs that it asks for by the truth, and submit what changed.

    Goes on where a former run was cut off, as long as its lease lasts.
    """
    scheduler = connection.scheduler
    note = _claimed(connection, review, folder)
    header = read_header(folder / "ct.nii.gz")
    for organ in review.organs:
        path = folder / "segmentations" / f"{organ}.nii.gz"
        write_mask(path, truth[organ].astype(np.uint8), header.geometry, like=header)
    class_map = _labels(connection, review.label_version).class_map
    masks = mask_files([folder], classmaps.load(class_map))
    changed = changed_masks(connection, review.label_version, masks)
    request = sched.SubmitReviewRequest(name=review.name, fencing_token=note.fencing_token)
    if changed:
        request.decision = sched.Review.DECISION_REVISED
        request.revision = upload_revision(
            connection, review.volume, changed, class_map=class_map, author=note.reviewer
        )
    else:
        request.decision = sched.Review.DECISION_ACCEPTED
    scheduler.SubmitReview(request)


def await_merges(connection: Connection, campaign: str) -> None:
    """Wait until every decision of a campaign is merged. Raises CAMPAIGN_STATE if that did not end its round."""
    scheduler = connection.scheduler
    # The stream stays open while a decision is merged; one that a draining server ended says nothing.
    while True:
        for _ in follow(scheduler, campaign):
            pass
        reviews = list(every(scheduler.ListReviews, sched.ListReviewsRequest(parent=campaign), "reviews"))
        if all(review.state != sched.Review.STATE_SUBMITTED for review in reviews):
            break
        time.sleep(1)
    seen = scheduler.GetCampaign(sched.GetCampaignRequest(name=campaign)).campaign
    if seen.state != sched.Campaign.STATE_ROUND_DONE:
        raise AtlasError(
            Reason.CAMPAIGN_STATE,
            "The round did not end with its reviews: it was cancelled, or a revision could not be merged.",
            field=campaign,
            remedy=f"`atlas review list {campaign.removeprefix('campaigns/')}` shows the reviews, the scheduler's log "
            "the reason.",
        )


def compare(connection: Connection, review: sched.Review, truth: Masks) -> Outcome:
    """Judge a finished review by the truth."""
    looked_at = _labels(connection, review.label_version)
    ai = [organ.organ for organ in looked_at.organs if organ.origin == pb.ORIGIN_AI and truth[organ.organ].any()]
    result = _labels(connection, review.result or review.label_version)
    return Outcome(_scores(connection, looked_at, ai, truth), _scores(connection, result, ai, truth))


def _claimed(connection: Connection, review: sched.Review, folder: Path) -> Note:
    """The note of a claim in `folder`: a former one that still holds, or a new one."""
    if review.state == sched.Review.STATE_CLAIMED and (folder / NOTE).exists():
        note = Note.read(folder)
        if note.review == review.name:
            download(connection, note, review, folder)
            return note
    request = sched.ClaimReviewRequest(name=review.name, reviewer=NAME, lease=Duration(seconds=600))
    claimed = connection.scheduler.ClaimReview(request)
    note = Note(review.name, claimed.fencing_token, NAME, review.volume, review.label_version)
    download(connection, note, claimed.review, folder)
    return note


def _scores(connection: Connection, labels: pb.LabelVersion, organs: list[str], truth: Masks) -> dict[str, float]:
    masks = connection.storage.array(labels.masks)
    return {organ: metrics.dsc(uint8_channel(masks, organ), truth[organ]) for organ in organs}


def _labels(connection: Connection, name: str) -> pb.LabelVersion:
    return connection.storage.rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version
