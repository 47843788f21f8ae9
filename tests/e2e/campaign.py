"""A campaign on a real stack: five services, a real Triton, the shipped models, synthetic CTs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.stack.launch import start_detached, stop
from services.cli.stack.plan import default_models
from services.cli.stack.state import StateFolder
from services.cli.watching import follow
from services.synthetic.cases import make_case, write_case

MODELS = ("models/unet/versions/1", "models/segresnet/versions/1")
NAME = "campaigns/trial"


@contextmanager
def stack(state: Path, models: Path | None = None) -> Iterator[Connection]:
    """A stack that keeps its state in `state`, on the shipped models or others."""
    folder = StateFolder(state)
    start_detached(folder, models or default_models(), lambda _: None)
    try:
        yield Connection(state, {})
    finally:
        stop(folder, lambda _: None)


def write_cases(folder: Path, seeds: Sequence[int]) -> list[Path]:
    """Small synthetic cases; every second one comes with a source label of the liver."""
    paths = []
    for number, seed in enumerate(seeds):
        path = folder / f"case_{number}"
        write_case(make_case(seed, profile="training"), path, ("liver",) if number % 2 else ())
        paths.append(path)
    return paths


def bring_in(connection: Connection, cases: Sequence[Path]) -> list[str]:
    """Import the cases through the API; returns volume names."""
    volumes = []
    for case in cases:
        storage = connection.storage
        ct = storage.put_file(case / "ct.nii.gz")
        volume = storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id=case.name, object=ct.name)).volume
        masks = sorted((case / "segmentations").glob("*.nii.gz"))
        if masks:
            files = [
                pb.LabelFile(object=storage.put_file(mask).name, organ=mask.name.removesuffix(".nii.gz"))
                for mask in masks
            ]
            storage.rpc.ImportLabelVersion(
                pb.ImportLabelVersionRequest(
                    parent=volume.name,
                    files=files,
                    class_map="abdomenatlas-1.0",
                    origin=pb.ORIGIN_SOURCE,
                    author="synthetic",
                )
            )
        volumes.append(volume.name)
    return volumes


def begin(connection: Connection, volumes: Sequence[str]) -> None:
    """Create the campaign."""
    connection.scheduler.CreateCampaign(
        sched.CreateCampaignRequest(campaign_id="trial", volumes=volumes, models=MODELS, review_share=0.2)
    )


def events(connection: Connection) -> Iterator[sched.CampaignEvent]:
    """All events until the campaign rests, over dropped connections."""
    for message in follow(connection.scheduler, NAME, after=0):
        yield message.event


@dataclass(frozen=True)
class Outcome:
    """What a campaign made of one volume, by content."""

    predictions: tuple[str, ...]
    heat: str
    masks: str
    combined: str
    priority: int
    rank: int


def outcomes(connection: Connection) -> dict[str, Outcome]:
    """SHA-256 of everything that the campaign made, by volume."""
    rpc = connection.storage.rpc
    made = {}
    for item in connection.scheduler.ListItems(sched.ListItemsRequest(parent=NAME)).items:
        labels = rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=item.label_version)).label_version
        heat = rpc.GetAttentionMap(pb.GetAttentionMapRequest(name=item.attention_map)).attention_map
        predictions = [rpc.GetPrediction(pb.GetPredictionRequest(name=p)).prediction for p in item.predictions]
        made[item.volume] = Outcome(
            tuple(p.array.object.sha256 for p in predictions),
            heat.heat.object.sha256,
            labels.masks.object.sha256,
            labels.combined.object.sha256,
            item.priority,
            item.rank,
        )
    return made
