"""`atlas campaign create` asks for what was said, and leaves the rest to the scheduler."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as storage
from abdomenatlas.type.v1.merge_pb2 import MergePolicy, ModelReliability, OrganSteps
from services.cli.commands.campaigns import register
from services.cli.connection import Connection
from services.cli.ingest.duplicates import told_shared
from services.cli.merge_words import described
from services.core.errors import AtlasError, Reason
from services.scheduler.campaigns import DEFAULT_SHARE


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[sched.CreateCampaignRequest]:
    """What the scheduler is asked for."""
    requests: list[sched.CreateCampaignRequest] = []

    def create(request: sched.CreateCampaignRequest) -> Any:
        requests.append(request)
        return SimpleNamespace(campaign=sched.Campaign(name="campaigns/spring"))

    connection = cast(Connection, SimpleNamespace(scheduler=SimpleNamespace(CreateCampaign=create)))
    monkeypatch.setattr(Connection, "to", lambda _: connection)
    return requests


@pytest.fixture
def twins(asked: list[sched.CreateCampaignRequest]) -> list[sched.CreateCampaignRequest]:
    """What the scheduler is asked for, where storage holds two volumes of one scan."""
    answer = storage.ListDuplicateGroupsResponse(groups=[storage.DuplicateGroup(volumes=["volumes/a", "volumes/b"])])
    connection = cast(Any, Connection.to(cast(Any, None)))
    connection.storage = SimpleNamespace(rpc=SimpleNamespace(ListDuplicateGroups=lambda _: answer))
    return asked


def atlas(*words: str) -> str:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["campaign", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_share_is_left_to_the_scheduler(asked: list[sched.CreateCampaignRequest]) -> None:
    atlas("create", "spring", "--volumes", "a")
    assert not asked[0].HasField("review_share")
    atlas("create", "spring", "--volumes", "a", "--review-share", "0")
    assert asked[1].HasField("review_share")
    assert asked[1].review_share == 0


def test_the_help_names_the_schedulers_share() -> None:
    assert f"default: {DEFAULT_SHARE}." in " ".join(atlas("create", "--help").replace("│", " ").split())


def test_a_policy_of_merging_in_words(asked: list[sched.CreateCampaignRequest]) -> None:
    words = ["overwrite=reassign", "fusion=weighted", "dsc:unet=0.9", "dsc:models/unet/versions/2:liver=0.7"]
    words += ["readers=adjudicated", "adjudicator=ana", "steps:liver=largest,holes", "steps=none"]
    atlas("create", "spring", "--volumes", "a", *(part for word in words for part in ("--merge", word)))
    expected = MergePolicy(
        overwrite=MergePolicy.OVERWRITE_REASSIGN,
        fusion=MergePolicy.FUSION_WEIGHTED,
        reliabilities=[
            ModelReliability(model="models/unet", dsc=0.9),
            ModelReliability(model="models/unet/versions/2", organ="liver", dsc=0.7),
        ],
        readers=MergePolicy.READERS_ADJUDICATED,
        adjudicator="ana",
        post_processing=[
            OrganSteps(organ="liver", steps=[OrganSteps.STEP_LARGEST, OrganSteps.STEP_HOLES]),
            OrganSteps(),
        ],
    )
    assert asked[0].merge_policy == expected
    assert described(expected) == "overwrite reassign, fusion weighted, readers adjudicated, adjudicator ana"


def test_without_words_the_policy_is_left_to_the_scheduler(asked: list[sched.CreateCampaignRequest]) -> None:
    atlas("create", "spring", "--volumes", "a")
    assert not asked[0].HasField("merge_policy")


def test_volumes_of_one_scan_are_warned_of(twins: list[sched.CreateCampaignRequest]) -> None:
    """The campaign starts all the same; what it takes only one of is no matter."""
    shown = atlas("create", "spring", "--volumes", "a", "--volumes", "b", "--volumes", "c")
    assert "warning: Some of these volumes show the same scan: a, b." in " ".join(shown.split())
    assert "warning" not in atlas("create", "summer", "--volumes", "a", "--volumes", "c")
    assert [len(request.volumes) for request in twins] == [3, 2]


def test_a_campaign_is_created_where_duplicates_are_not_known(
    twins: list[sched.CreateCampaignRequest],
) -> None:
    def away(_: object) -> None:
        raise AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "storage does not answer.", field="storage")

    cast(Any, Connection.to(cast(Any, None))).storage.rpc.ListDuplicateGroups = away
    shown = atlas("create", "spring", "--volumes", "a", "--volumes", "b")
    assert "among them twice is not known: storage does not answer." in " ".join(shown.split())
    assert len(twins) == 1


def test_of_many_groups_of_one_scan_a_few_are_named() -> None:
    groups = [storage.DuplicateGroup(volumes=[f"volumes/{n}", f"volumes/{n}x"]) for n in range(7)]
    names = [name for group in groups for name in group.volumes]
    assert told_shared(names, groups).endswith("3, 3x; 4, 4x; and 2 groups more.")
    assert told_shared(names[::2], groups) == ""
