"""Volumes that show the same scan, in the catalog."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import delete

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.geometry import Geometry
from services.storage.catalog.catalog import Catalog
from services.storage.catalog.tables import Fingerprint
from services.storage.duplicates import Duplicates, grouped, row, without
from services.storage.volumes import message
from services.synthetic.cases import make_case
from tests.storage.world import World

Scan = tuple[npt.NDArray[np.int16], Geometry]


@pytest.fixture(scope="module")
def scan() -> Scan:
    case = make_case(21, profile="training")
    return case.ct, case.geometry


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def pairs(world: World, volume_id: str) -> set[tuple[str, str, str]]:
    found = world.duplicates.of(f"volumes/{volume_id}")
    return {(p.first, p.second, pb.Duplicate.Kind.Name(p.kind).removeprefix("KIND_")) for p in found}


def test_copies_are_found_whichever_came_first(world: World, scan: Scan) -> None:
    voxels, geometry = scan
    world.volume(nifti.encode(voxels, geometry), "whole", dataset="a")
    assert pairs(world, "whole") == set()
    other = make_case(22, profile="training")
    world.volume(nifti.encode(other.ct, other.geometry), "other", dataset="a")
    world.volume(nifti.encode(voxels.astype(np.float32), geometry), "again", dataset="b")
    depth, rows, columns = voxels[8:].shape
    part = Geometry.from_matrix((columns, rows, depth), geometry.matrix)
    world.volume(nifti.encode(np.ascontiguousarray(voxels[8:]), part), "part", dataset="c")
    assert pairs(world, "again") == {
        ("volumes/whole", "volumes/again", "EXACT"),
        ("volumes/again", "volumes/part", "NEAR"),
    }
    assert pairs(world, "other") == set()
    groups = world.duplicates.groups(pb.ListDuplicateGroupsRequest()).groups
    assert [list(group.volumes) for group in groups] == [["volumes/again", "volumes/part", "volumes/whole"]]
    assert len(groups[0].pairs) == 3


def test_a_volume_whose_process_was_killed_is_compared_later(world: World, scan: Scan) -> None:
    """It is in the catalog and nobody asked for its duplicates; another process finds them."""
    world.volume(nifti.encode(*scan), "one")
    world.volume(nifti.encode(*scan), "two")
    again = Duplicates(world.catalog)
    assert [pair.second for pair in again.of("volumes/one")] == ["volumes/two"]
    assert [pair.second for pair in world.duplicates.of("volumes/one")] == ["volumes/two"]


def test_fingerprints_are_kept_by_each_database(catalog: Catalog, tmp_path: Path, scan: Scan) -> None:
    (tmp_path / "other").mkdir()
    world = World(tmp_path / "other")
    volume = world.volume(nifti.encode(*scan), "one")
    stored = world.catalog.volume("one")
    for id_ in ("one", "two"):
        copy = type(stored)(
            id=id_,
            dataset="",
            object_sha256=stored.object_sha256,
            geometry_digest=stored.geometry_digest,
            voxel_digest=volume.voxel_digest,
            create_time=stored.create_time,
            record=stored.record,
        )
        assert catalog.add_all([copy, row(id_, *scan)])
    found = Duplicates(catalog).of("volumes/two")
    assert [(pair.first, pair.second) for pair in found] == [("volumes/one", "volumes/two")]
    assert Duplicates(catalog).of("volumes/two") == found
    assert not catalog.add_all([row("three", *scan)]), "there is no such volume"
    assert message(catalog.volume("two")).voxel_digest == volume.voxel_digest


def test_pages_of_groups(world: World, scan: Scan) -> None:
    second = make_case(22, profile="training")
    for id_ in ("a1", "a2"):
        world.volume(nifti.encode(*scan), id_)
    for id_ in ("b1", "b2"):
        world.volume(nifti.encode(second.ct, second.geometry), id_)
    first = world.duplicates.groups(pb.ListDuplicateGroupsRequest(page_size=1))
    assert [list(group.volumes) for group in first.groups] == [["volumes/a1", "volumes/a2"]]
    rest = world.duplicates.groups(pb.ListDuplicateGroupsRequest(page_size=1, page_token=first.next_page_token))
    assert [list(group.volumes) for group in rest.groups] == [["volumes/b1", "volumes/b2"]]
    assert not rest.next_page_token


def test_withdrawn_volumes_are_left_out_unless_asked_for(world: World, scan: Scan) -> None:
    """Two that only a withdrawn one connects stay together, and a volume that is left alone is no group."""
    voxels, geometry = scan
    world.volume(nifti.encode(voxels, geometry), "a")
    world.volume(nifti.encode(voxels.astype(np.float32), geometry), "b")
    world.volume(nifti.encode(voxels.astype(np.int32), geometry), "c")

    def groups(show_withdrawn: bool = False) -> list[list[str]]:
        found = world.duplicates.groups(pb.ListDuplicateGroupsRequest(show_withdrawn=show_withdrawn)).groups
        return [[name.removeprefix("volumes/") for name in group.volumes] for group in found]

    def withdraw(name: str) -> None:
        world.volumes.withdraw(pb.WithdrawVolumeRequest(name=name, reason="r", author="a"))

    assert groups() == [["a", "b", "c"]]
    withdraw("volumes/a")
    assert groups() == [["b", "c"]]
    assert pairs(world, "b") == {("volumes/b", "volumes/c", "EXACT")}
    withdraw("volumes/c")
    assert groups() == []
    assert pairs(world, "b") == set()
    assert groups(show_withdrawn=True) == [["a", "b", "c"]]


def test_two_that_only_a_withdrawn_volume_connects_stay_together() -> None:
    pairs = [pb.Duplicate(first="m", second="a"), pb.Duplicate(first="m", second="z")]
    (group,) = without(grouped(pairs), {"m"})
    assert (list(group.volumes), len(group.pairs)) == (["a", "z"], 0)


def test_groups_join_over_others() -> None:
    pairs = [pb.Duplicate(first=a, second=b) for a, b in (("a", "b"), ("d", "e"), ("c", "b"), ("c", "f"))]
    assert [list(group.volumes) for group in grouped(pairs)] == [["a", "b", "c", "f"], ["d", "e"]]


def test_volumes_from_before_fingerprints_get_theirs_in_time(world: World, scan: Scan) -> None:
    for id_ in ("one", "two"):
        world.volume(nifti.encode(*scan), id_)
    with world.catalog.writing() as session:
        session.execute(delete(Fingerprint))
    assert pairs(world, "one") == set()
    for _ in range(3):
        world.volumes.take_fingerprint()
    assert pairs(world, "one") == {("volumes/one", "volumes/two", "EXACT")}
