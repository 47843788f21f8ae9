"""`atlas review`: list, claim, renew, release, submit."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli import places
from services.cli.commands.options import STATE, Json, State, campaign_name, review_name, short_review
from services.cli.connection import Connection
from services.cli.output import as_data, counted, out, print_json, table, warn
from services.cli.paging import every
from services.cli.reviewing import NOTE, Note, changed_masks, download, mask_files, upload_revision
from services.core import classmaps
from services.core.errors import AtlasError, Reason

_PLACES = 5
_app = typer.Typer(no_args_is_help=True, help="Look at the volumes that matter, and give revised masks back.")

Review = Annotated[
    str,
    typer.Argument(metavar="REVIEW", help='A review such as "spring/r1-1", or the folder that "claim --to" filled.'),
]
Token = Annotated[int | None, typer.Option(help=f"Fencing token of the claim; a claim folder's {NOTE} holds it.")]
Minutes = Annotated[float, typer.Option(min=0.02, max=1440, help="How long the review is held, in minutes.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="review")


@_app.command("list")
def list_(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Only reviews of this campaign.")] = "",
    open_only: Annotated[bool, typer.Option("--open", help="Only reviews that can be claimed.")] = False,
    state: State = STATE,
    json: Json = False,
) -> None:
    """List reviews, most urgent first.

    Example: `atlas review list spring --open`
    """
    request = sched.ListReviewsRequest(
        parent=campaign_name(campaign) if campaign else "campaigns/-",
        state=sched.Review.STATE_OPEN if open_only else sched.Review.STATE_UNSPECIFIED,
    )
    reviews = list(every(Connection.to(state).scheduler.ListReviews, request, "reviews"))
    if json:
        print_json([as_data(review) for review in reviews])
        return
    rows = table("Review", "Volume", "Rank", "Priority", "State", "Look at", "Reviewer", right=("Rank", "Priority"))
    for r in reviews:
        organs = ", ".join(r.organs[:3])
        volume = r.volume.removeprefix("volumes/")
        rows.add_row(short_review(r.name), volume, str(r.rank), f"{r.priority:,}", _state(r), organs, r.reviewer)
    out.print(rows)


@_app.command()
def claim(
    review: Annotated[str, typer.Argument(metavar="REVIEW", help="The review's name, as `list` shows it.")],
    reviewer: Annotated[str, typer.Option(help="Who claims it; the name in your token by default.")] = "",
    to: Annotated[Path | None, typer.Option(help="Download CT, labels and attention into this folder.")] = None,
    minutes: Minutes = 60,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Take a review for a reviewer, and download what it needs.

    Correct FOLDER/segmentations/<organ>.nii.gz in place with ITK-SNAP or 3D Slicer, then `atlas review submit FOLDER`.

    Example: `atlas review claim spring/r1-1 --reviewer "Dr. Who" --to case`
    """
    name = review_name(review)
    if to and to.exists() and any(to.iterdir()):
        raise AtlasError(
            Reason.RESOURCE_CONFLICT, "The folder is not empty.", field=str(to), remedy="Name a new or empty folder."
        )
    connection = Connection.to(state)
    request = sched.ClaimReviewRequest(name=name, reviewer=reviewer, lease=_lease(minutes))
    claimed = connection.scheduler.ClaimReview(request)
    taken = claimed.review
    if to:
        note = Note(taken.name, claimed.fencing_token, taken.reviewer, taken.volume, taken.label_version)
        with counted("Downloading") as progress:
            task = progress.add_task("", total=None)
            download(connection, note, taken, to, lambda name: progress.update(task, description=name))
    if json:
        print_json({"review": as_data(taken), "fencing_token": claimed.fencing_token})
        return
    until = taken.lease_expire_time.ToDatetime().strftime("%H:%M UTC")
    out.print(f"{short_review(taken.name)} is yours until {until}; fencing token {claimed.fencing_token}.")
    out.print(f"Look at: {', '.join(taken.organs) or 'all organs'}.")
    _show_places(connection, taken)
    if to:
        out.print(f"Files: {to}. Give them back with `atlas review submit {to}`.")


@_app.command()
def submit(
    review: Review,
    masks: Annotated[
        list[Path] | None,
        typer.Option(help="Revised <organ>.nii.gz files or their folder; default: what changed in the claim folder."),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="The labels are right as they are.")] = False,
    token: Token = None,
    reviewer: Annotated[str, typer.Option(help=f"Who revised the masks; a claim folder's {NOTE} holds it.")] = "",
    state: State = STATE,
    json: Json = False,
) -> None:
    """End a review: accept the labels, or give revised masks back.

    From a claim folder only the masks that changed are taken. Masks that come too late, under a lease that expired or
    went to somebody else, are stored all the same and kept beside the review.

    Examples: `atlas review submit case` · `atlas review submit case --accept` ·
    `atlas review submit spring/r1-1 --token 3 --reviewer "Dr. Who" --masks liver.nii.gz`
    """
    _require_decision(review, masks, accept)
    connection = Connection.to(state)
    claim = _claim_of(review, token)
    author = reviewer or claim.reviewer
    if not accept and not author:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            "Who revised these masks?",
            field="--reviewer",
            remedy="Name whoever claimed the review; a claim folder may be given in place of the review.",
        )
    request = sched.SubmitReviewRequest(name=claim.review, fencing_token=claim.fencing_token)
    revised: dict[str, Path] = {}
    if accept:
        if Path(review).is_dir():
            _require_unchanged(connection, claim.review, Path(review))
        request.decision = sched.Review.DECISION_ACCEPTED
    else:
        asked = connection.scheduler.GetReview(sched.GetReviewRequest(name=claim.review)).review
        revised = _revised(connection, asked, review, masks)
        class_map = _class_map(connection, asked)
        request.decision = sched.Review.DECISION_REVISED
        request.revision = upload_revision(connection, asked.volume, revised, class_map=class_map, author=author)
    try:
        done = connection.scheduler.SubmitReview(request).review
    except AtlasError as error:
        if error.reason == Reason.LEASE_LOST and request.revision:
            warn(f"The masks came too late for this claim. They are kept beside the review, as {request.revision}.")
        raise
    if json:
        print_json(as_data(done))
    elif accept:
        out.print(f"{short_review(done.name)}: accepted.")
    else:
        out.print(f"{short_review(done.name)}: revised {', '.join(sorted(revised))}.")


@_app.command()
def renew(review: Review, minutes: Minutes = 60, token: Token = None, state: State = STATE, json: Json = False) -> None:
    """Hold a claimed review for longer."""
    claim = _claim_of(review, token)
    request = sched.RenewReviewRequest(name=claim.review, fencing_token=claim.fencing_token, lease=_lease(minutes))
    _tell(Connection.to(state).scheduler.RenewReview(request).review, json)


@_app.command()
def release(review: Review, token: Token = None, state: State = STATE, json: Json = False) -> None:
    """Give a claimed review back undecided."""
    claim = _claim_of(review, token)
    request = sched.ReleaseReviewRequest(name=claim.review, fencing_token=claim.fencing_token)
    _tell(Connection.to(state).scheduler.ReleaseReview(request).review, json)


def _show_places(connection: Connection, review: sched.Review) -> None:
    """The most urgent places of the attention map, if its profile knows places."""
    request = pb.GetAttentionMapRequest(name=review.attention_map)
    regions = connection.storage.rpc.GetAttentionMap(request).attention_map.regions
    if not regions:
        return
    rows = table("Organ", "Centre, mm", "Volume, ml", "Wrong with", "Why", right=("Volume, ml", "Wrong with"))
    for region in regions[:_PLACES]:
        volume, probability = f"{region.volume_mm3 / 1000:.1f}", f"{region.probability:.0%}"
        rows.add_row(region.organ, places.centre(region.centre_mm), volume, probability, "\n".join(places.why(region)))
    out.print(rows)


@dataclass(frozen=True)
class _Claim:
    """What whoever claimed a review holds."""

    review: str
    fencing_token: int
    reviewer: str
    """Empty if only the review's name is known."""


def _claim_of(review: str, token: int | None) -> _Claim:
    """The claim of a review that was given by name or by its claim folder."""
    folder = Path(review)
    if folder.is_dir():
        note = Note.read(folder)
        return _Claim(note.review, note.fencing_token if token is None else token, note.reviewer)
    name = review_name(review)
    if token is None:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            "The claim's fencing token is required.",
            field="--token",
            remedy="`atlas review claim` shows it; a claim folder may be given in place of the name.",
        )
    return _Claim(name, token, "")


def _require_unchanged(connection: Connection, review: str, folder: Path) -> None:
    """Raise FIELD_INVALID if a claim is accepted in whose folder masks were changed: that work would be lost."""
    held = connection.scheduler.GetReview(sched.GetReviewRequest(name=review)).review
    try:
        masks = mask_files([folder], classmaps.load(_class_map(connection, held)))
    except AtlasError as error:
        if error.reason != Reason.FOLDER_EMPTY:
            raise
        return
    if changed := changed_masks(connection, held.label_version, masks):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{', '.join(sorted(changed))} in this folder differ from the labels that were claimed.",
            field="--accept",
            remedy="Leave --accept out to give them back as a revision, or take them out of the folder.",
        )


def _require_decision(review: str, masks: list[Path] | None, accept: bool) -> None:
    if accept and masks:
        raise AtlasError(
            Reason.FIELD_INVALID, "Either or.", field="--accept and --masks", remedy="Give one of the two."
        )
    if (Path(review).is_absolute() or review.startswith(".")) and not Path(review).exists():
        raise AtlasError(
            Reason.FIELD_INVALID,
            "There is no such folder.",
            field=review,
            remedy="Give the folder that `atlas review claim` wrote, or a review's name such as spring/r1-1.",
        )
    if not accept and not masks and not Path(review).is_dir():
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            "What is the decision?",
            field="--masks or --accept",
            remedy="Give the revised masks, or accept the labels as they are.",
        )


def _class_map(connection: Connection, held: sched.Review) -> str:
    request = pb.GetLabelVersionRequest(name=held.label_version)
    return connection.storage.rpc.GetLabelVersion(request).label_version.class_map


def _revised(connection: Connection, held: sched.Review, review: str, masks: list[Path] | None) -> dict[str, Path]:
    labels = connection.storage.rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=held.label_version)).label_version
    revised = mask_files(masks or [Path(review)], classmaps.load(labels.class_map))
    if not masks:
        gone = sorted({organ.organ for organ in labels.organs} - revised.keys())
        if gone:
            warn(f"{', '.join(gone)}: the mask is gone from the folder and stays as it was; an empty one says absent.")
        revised = changed_masks(connection, held.label_version, revised)
        if not revised:
            raise AtlasError(
                Reason.FIELD_INVALID,
                "No mask in this folder differs from the labels that were claimed.",
                field=review,
                remedy="Save the corrected masks there, or end the review with --accept.",
            )
    kept = {organ.organ for organ in labels.organs if organ.origin == pb.ORIGIN_SOURCE} & revised.keys()
    if kept:
        warn(f"{', '.join(sorted(kept))}: the source labelled this, and a revision does not replace a source label.")
    return revised


def _tell(review: sched.Review, json: bool) -> None:
    if json:
        print_json(as_data(review))
    elif review.state == sched.Review.STATE_CLAIMED:
        until = review.lease_expire_time.ToDatetime().strftime("%H:%M UTC")
        out.print(f"{short_review(review.name)}: held until {until}.")
    else:
        out.print(f"{short_review(review.name)}: {_state(review)}.")


def _state(review: sched.Review) -> str:
    return sched.Review.State.Name(review.state).removeprefix("STATE_").lower()


def _lease(minutes: float) -> Duration:
    lease = Duration()
    lease.FromTimedelta(timedelta(minutes=minutes))
    return lease
