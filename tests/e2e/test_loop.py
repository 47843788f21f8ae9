"""The loop on a real stack: a review, a tuning, its promotion, and a next round that works with the new version."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from abdomenatlas.inference.v1 import inference_pb2 as inf
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1 import training_pb2 as training
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.demo.reviewer import await_merges
from services.cli.reviewing import upload_revision
from services.cli.stack.plan import default_models
from services.cli.watching import follow
from services.core.geometry import Geometry
from services.serving.training.stored import Labelled
from services.synthetic.cases import make_case, write_case
from tests.e2e.campaign import NAME, bring_in, stack

GRID = Geometry.from_matrix((56, 44, 36), np.array([[6.0, 0, 0, -165], [0, 6, 0, -130], [0, 0, 6, -100], [0, 0, 0, 1]]))
SHARE, CLASS_MAP = 0.5, "abdomenatlas-1.0"


def test_a_review_comes_back_as_a_better_version(tmp_path: Path) -> None:
    """`next-round --tune` learns the revised organ, compares on a held-out volume, promotes, and predicts anew."""
    shutil.copytree(default_models() / "unet", tmp_path / "models" / "unet")
    cases = [tmp_path / "cases" / f"case_{seed}" for seed in range(8)]
    for seed, folder in enumerate(cases):
        write_case(make_case(seed, geometry=GRID), folder, ())
    with stack(tmp_path / "state", tmp_path / "models") as connection:
        volumes = bring_in(connection, cases)
        held = [volume for volume in volumes if is_held_out(connection, volume)]
        first, second = [volume for volume in volumes if volume not in held][:2]
        label(connection, held[0], pb.ORIGIN_SOURCE, tmp_path)
        connection.scheduler.CreateCampaign(
            sched.CreateCampaignRequest(
                campaign_id="trial", volumes=[first, second], models=["models/unet"], review_share=0.5
            )
        )
        rest(connection)
        (review,) = connection.scheduler.ListReviews(sched.ListReviewsRequest(parent=NAME)).reviews
        revise(connection, review, tmp_path)
        await_merges(connection, NAME)

        said = atlas(tmp_path, "next-round", "trial", "--tune", "--minutes", "1", "--margin", "1", "--held-out", "0.5")
        assert "models/unet: version 2\n" in said
        rest(connection)
        (done,) = connection.scheduler.ListTrainings(training.ListTrainingsRequest()).trainings
        assert (done.result.version, done.result.promotable) == (2, True)
        assert list(done.plan.volumes) == [review.volume]
        ready = [model.name for model in connection.inference.ListModels(inf.ListModelsRequest()).models if model.ready]
        assert ready == ["models/unet/versions/1", "models/unet/versions/2"]
        campaign = connection.scheduler.GetCampaign(sched.GetCampaignRequest(name=NAME)).campaign
        assert (campaign.round, list(campaign.models)) == (2, ["models/unet/versions/2"])
        items = {
            item.volume: item for item in connection.scheduler.ListItems(sched.ListItemsRequest(parent=NAME)).items
        }
        (other,) = {first, second} - {review.volume}
        (name,) = items[other].predictions
        prediction = connection.storage.rpc.GetPrediction(pb.GetPredictionRequest(name=name)).prediction
        assert prediction.model.name == "models/unet/versions/2"
    comparison = (tmp_path / "models" / "unet" / "2" / "comparison.md").read_text()
    assert "| spleen | 1 |" in comparison


def is_held_out(connection: Connection, name: str) -> bool:
    volume = connection.storage.rpc.GetVolume(pb.GetVolumeRequest(name=name)).volume
    return Labelled(volume, {}, frozenset(), volume.voxel_digest).is_held_out(SHARE)


def rest(connection: Connection) -> None:
    for _ in follow(connection.scheduler, NAME):
        pass


def label(connection: Connection, volume: str, origin: pb.Origin.ValueType, folder: Path) -> str:
    """The true spleen as a label version."""
    case = make_case(int(volume.rpartition("_")[2]), geometry=GRID)
    write_case(case, folder / "truth", ("spleen",))
    masks = {"spleen": folder / "truth" / "segmentations" / "spleen.nii.gz"}
    if origin == pb.ORIGIN_REVISION:
        return upload_revision(connection, volume, masks, class_map=CLASS_MAP, author="ann")
    file = pb.LabelFile(object=connection.storage.put_file(masks["spleen"]).name, organ="spleen")
    request = pb.ImportLabelVersionRequest(
        parent=volume, files=[file], class_map=CLASS_MAP, origin=origin, author="synthetic"
    )
    return connection.storage.rpc.ImportLabelVersion(request).label_version.name


def revise(connection: Connection, review: sched.Review, folder: Path) -> None:
    claim = sched.ClaimReviewRequest(name=review.name, reviewer="ann")
    token = connection.scheduler.ClaimReview(claim).fencing_token
    revision = label(connection, review.volume, pb.ORIGIN_REVISION, folder)
    connection.scheduler.SubmitReview(
        sched.SubmitReviewRequest(
            name=review.name, fencing_token=token, decision=sched.Review.DECISION_REVISED, revision=revision
        )
    )


def atlas(folder: Path, *words: str) -> str:
    """What `atlas campaign` tells of its progress."""
    command = [sys.executable, "-m", "services.cli", "campaign", *words, "--state", str(folder / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr
