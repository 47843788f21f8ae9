"""`atlas demo`: a whole campaign from CTs to a release, on this machine."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer

from abdomenatlas.inference.v1 import inference_pb2 as inf
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.campaign_display import show_progress, summary
from services.cli.commands.exporting import export
from services.cli.commands.importing import import_all
from services.cli.commands.options import short_review
from services.cli.commands.reporting import write_report
from services.cli.commands.stack import Models, StackDisplay
from services.cli.connection import Connection
from services.cli.demo.patients import LICENCE, PATIENTS
from services.cli.demo.reviewer import await_merges, compare, repair
from services.cli.exits import Exit
from services.cli.ingest.discover import discover
from services.cli.ingest.importer import Imported, Source
from services.cli.output import counted, say, show_error
from services.cli.paging import every
from services.cli.release.contents import read_contents
from services.cli.release.present import make_way
from services.cli.release.provenance import identity
from services.cli.stack import launch
from services.cli.stack.ending import on_end
from services.cli.stack.plan import default_models
from services.cli.stack.state import StateFolder
from services.cli.watching import follow
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.names import content_id
from services.core.rpc.client import connect

REVIEW_SHARE = 0.2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demonstration makes.")] = Path("demo-out"),
    ct: Annotated[
        Path | None,
        typer.Option(help="Your own CT file, case folder or folder of cases, in place of synthetic CTs."),
    ] = None,
    models: Models = None,
) -> None:
    """Run a whole campaign: start the stack, import, predict, score, merge, review, export, report, stop.

    Without --ct it draws synthetic CTs whose sources labelled some organs only, and a scripted reviewer repairs the
    volume that asks for it most. With --ct the review is left open for a person. Running it again on the same folder
    goes on with what is there.

    Examples: `atlas demo` · `atlas demo --out /tmp/try --ct scan.nii.gz`
    """
    steps = _Steps()
    out = out.resolve()
    state = StateFolder(out / "state")
    with _stack(state, (models or default_models()).resolve(), steps):
        connection = Connection(state.root, {})
        volumes, refused = _import(connection, ct, out / "cases", steps)
        campaign = _run_campaign(connection, volumes, steps)
        if ct is None:
            _review(connection, campaign, out / "review", steps)
        steps.begin("Export and report")
        release = out / "release"
        contents = read_contents(connection, campaign)
        # What an earlier demonstration with other CTs, models or reviews left.
        if kept := make_way(release, identity(contents)):
            say(f"  An earlier release was changed or added to; it is kept as {kept}.")
        export(connection, contents, release)
        write_report(connection, campaign, out / "report.html")
        final = connection.scheduler.GetCampaign(sched.GetCampaignRequest(name=campaign)).campaign
        _tell(connection, final, ct is not None)
    steps.end()
    say(f"\n  Report   {out / 'report.html'}\n  Release  {release}\n  Logs     {state.logs}")
    if refused or final.failed_count:
        raise typer.Exit(Exit.REFUSED)


class _Steps:
    """Tells what is being done, and how long it took."""

    def __init__(self) -> None:
        self._began = self._step_began = time.monotonic()
        self._step = ""

    def begin(self, step: str) -> None:
        """End the step before and begin this one."""
        now = time.monotonic()
        if self._step:
            say(f"  done in {now - self._step_began:.0f} s")
        self._step, self._step_began = step, now
        say(f"\n{step}")

    def end(self) -> None:
        """End the last step."""
        now = time.monotonic()
        say(f"  done in {now - self._step_began:.0f} s\n\nEverything took {now - self._began:.0f} s.")


@contextmanager
def _stack(state: StateFolder, models: Path, steps: _Steps) -> Iterator[None]:
    steps.begin("Start")
    # The stack runs detached: what ends this command must end it too.
    on_end(signal.default_int_handler)
    running = state.read()
    if not (running and running.is_running):
        launch.start_detached(state, models, StackDisplay())
    try:
        yield
    finally:
        steps.begin("Stop")
        launch.stop(state, StackDisplay(state.read()))


def _import(connection: Connection, ct: Path | None, drawn: Path, steps: _Steps) -> tuple[list[pb.Volume], int]:
    """The volumes of the demonstration, and how many files or folders were refused."""
    organs = classmaps.load()
    if ct is not None:
        steps.begin(f"Import {ct}")
        done = list(import_all(connection, list(discover(ct, organs)), Source()))
    else:
        steps.begin("Draw synthetic CTs with partial labels, and import them")
        done = []
        with counted("Drawing") as progress:
            task = progress.add_task("", total=len(PATIENTS))
            for patient in PATIENTS:
                progress.update(task, description=patient.name)
                patient.write(drawn / patient.dataset / patient.name)
                progress.advance(task)
        for patient in PATIENTS:
            found = list(discover(drawn / patient.dataset, organs))
            done += import_all(connection, found, Source(patient.dataset, LICENCE))
    volumes = []
    for entry in done:
        if isinstance(entry, Imported) and entry.volume:
            volumes.append(entry.volume)
            labelled = ", ".join(organ.organ for organ in entry.labels.organs) if entry.labels else "nothing"
            shape = "x".join(map(str, entry.volume.geometry.shape))
            say(f"  {entry.case.volume_id}  {shape}, the source labelled {labelled}")
    if not volumes:
        raise AtlasError(
            Reason.FOLDER_EMPTY, "No volume could be imported.", field=str(ct), remedy="See the errors above."
        )
    return volumes, sum(len(entry.refusals) if isinstance(entry, Imported) else 1 for entry in done)


def _run_campaign(connection: Connection, volumes: list[pb.Volume], steps: _Steps) -> str:
    """Run a campaign to its rest. Its name follows from volumes and models: the same again is the same campaign."""
    steps.begin("Predict, score, merge and rank")
    inference = InferenceServiceStub(connect(connection.address("inference")))
    models = [
        model for model in inference.ListModels(inf.ListModelsRequest()).models if model.ready and not model.superseded
    ]
    parts = [f"{v.name} {v.voxel_digest}" for v in volumes] + [f"{m.name} {m.weights_sha256}" for m in models]
    request = sched.CreateCampaignRequest(
        campaign_id=f"demo-{content_id(*parts)[:8]}",
        volumes=[volume.name for volume in volumes],
        models=[model.name for model in models],
        review_share=REVIEW_SHARE,
    )
    request.request_id = request.campaign_id
    campaign = connection.scheduler.CreateCampaign(request).campaign
    show_progress(follow(connection.scheduler, campaign.name))
    items = every(connection.scheduler.ListItems, sched.ListItemsRequest(parent=campaign.name), "items")
    for item in items:
        if item.error:
            show_error(AtlasError(Reason.INTERNAL, item.error, field=item.volume))
        else:
            say(f"  {item.rank}. {item.volume.removeprefix('volumes/')}  priority {item.priority:,}")
    return campaign.name


def _review(connection: Connection, campaign: str, folder: Path, steps: _Steps) -> None:
    """Let the scripted reviewer do every open review of a synthetic campaign, and tell what it brought."""
    steps.begin("Review by a script that knows the synthetic truth")
    scheduler = connection.scheduler
    truths = {f"volumes/{patient.name}": patient for patient in PATIENTS}
    request = sched.ListReviewsRequest(parent=campaign)
    reviews = list(every(scheduler.ListReviews, request, "reviews"))
    for review in reviews:
        if review.state in (sched.Review.STATE_OPEN, sched.Review.STATE_CLAIMED):
            truth = truths[review.volume].draw().masks
            repair(connection, review, truth, folder / review.volume.removeprefix("volumes/"))
    with counted("Merging") as progress:
        progress.add_task("the revision", total=None)
        await_merges(connection, campaign)
    for review in reviews:
        done = scheduler.GetReview(sched.GetReviewRequest(name=review.name)).review
        outcome = compare(connection, done, truths[review.volume].draw().masks)
        for organ, before in outcome.before.items():
            say(f"  {organ:<14} DSC {before:.3f} -> {outcome.after[organ]:.3f}")
        if outcome.before:
            name = review.volume.removeprefix("volumes/")
            say(f"  {name}: mean DSC {mean(outcome.before.values()):.3f} -> {mean(outcome.after.values()):.3f}")


def _tell(connection: Connection, campaign: sched.Campaign, is_real: bool) -> None:
    say(f"  {summary(campaign)}")
    if is_real and campaign.open_review_count:
        open_reviews = sched.ListReviewsRequest(parent=campaign.name, state=sched.Review.STATE_OPEN)
        for review in every(connection.scheduler.ListReviews, open_reviews, "reviews"):
            volume = review.volume.removeprefix("volumes/")
            state = f"--state {connection.state}"
            say(f"  {volume} waits for a person, because no truth is known for real CTs:")
            say(f"    atlas up --detach {state}")
            say(f"    atlas review claim {short_review(review.name)} --reviewer YOU --to FOLDER {state}")
