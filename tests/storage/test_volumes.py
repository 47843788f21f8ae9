"""CTs on their way into the catalog."""

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.fingerprint import profile, tissue_mm3
from services.core.rpc.convert import geometry_from_proto
from tests.storage import files
from tests.storage.world import World

nib: Any = nibabel


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def refusal(world: World, data: bytes) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        world.volume(data)
    assert caught.value.field == "volumes/case"
    assert caught.value.remedy
    assert world.catalog.find_volume("case") is None
    return caught.value


def with_affine(value: float) -> bytes:
    data = bytearray(files.raw((5, 6, 7)))
    data[280:328] = struct.pack("<12f", *[value] * 12)
    return gzip.compress(data)


def with_nan() -> bytes:
    data = bytearray(files.raw((5, 6, 7), "<f4"))
    data[-4:] = struct.pack("<f", float("nan"))
    return gzip.compress(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", Reason.FILE_NOT_NIFTI),
        (bytes.fromhex("00051607") + bytes(174), Reason.FILE_NOT_NIFTI),
        (files.ct()[:-100], Reason.FILE_TRUNCATED),
        (gzip.compress(files.raw((5, 6, 7)) + bytes(2**24)), Reason.FILE_TOO_LARGE),
        (gzip.compress(files.raw((5, 6))), Reason.IMAGE_NOT_3D),
        (gzip.compress(files.raw((5, 6, 7, 2))), Reason.IMAGE_NOT_3D),
        (with_affine(0.0), Reason.AFFINE_INVALID),
        (with_affine(float("nan")), Reason.AFFINE_INVALID),
        (with_nan(), Reason.VOXELS_NOT_FINITE),
        (gzip.compress(files.raw((5, 6, 7), "c8")), Reason.DTYPE_UNSUPPORTED),
    ],
)
def test_bad_files_are_refused_and_leave_no_volume(world: World, data: bytes, reason: Reason) -> None:
    assert refusal(world, data).reason == reason


def test_a_volume_larger_than_the_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    data = bytearray(files.raw((5, 6, 7)))
    data[40:48] = struct.pack("<4h", 3, 4096, 4096, 4096)
    assert refusal(World(tmp_path), gzip.compress(data)).reason == Reason.VOLUME_TOO_LARGE


def test_a_volume_says_what_it_is(world: World) -> None:
    volume = world.volume(dataset="amos22", source_id="amos_0001", licence="CC-BY-4.0")
    voxels = files.hounsfield()
    assert volume.name == "volumes/case"
    assert geometry_from_proto(volume.geometry) == files.GEOMETRY
    assert (volume.dtype, volume.min_hu, volume.max_hu) == ("int16", voxels.min(), voxels.max())
    assert (volume.dataset, volume.source_id, volume.licence) == ("amos22", "amos_0001", "CC-BY-4.0")
    assert list(volume.tissue_mm3) == tissue_mm3(profile(voxels, files.GEOMETRY))
    assert not volume.notes
    assert volume.create_time.seconds > 0
    assert world.volumes.get("volumes/case") == volume


def test_voxel_digest_does_not_depend_on_compression(world: World) -> None:
    first = world.volume()
    second = world.volume(gzip.decompress(files.ct()), volume_id="plain")
    third = world.volume(files.ct(seed=1), volume_id="other")
    assert first.ct.sha256 != second.ct.sha256
    assert first.voxel_digest == second.voxel_digest != third.voxel_digest


def test_what_was_odd_is_noted(world: World) -> None:
    data = nifti.encode(np.abs(files.hounsfield()), files.GEOMETRY)
    assert any("HU" in note for note in world.volume(data).notes)


def test_labels_are_no_ct(world: World) -> None:
    with pytest.raises(AtlasError) as caught:
        world.volume(files.mask(files.ball(5)))
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_INVALID, "volumes/case")
    assert caught.value.message.endswith("its voxels hold nothing but 0, 1.")
    assert "CT that labels were drawn on" in caught.value.remedy
    assert world.catalog.find_volume("case") is None


def test_the_same_request_gives_the_same_volume_and_another_a_conflict(world: World) -> None:
    first = world.volume(dataset="amos22")
    assert world.volume(dataset="amos22") == first
    for data, dataset in ((files.ct(), "word"), (files.ct(seed=1), "amos22")):
        with pytest.raises(AtlasError) as caught:
            world.volume(data, dataset=dataset)
        assert caught.value.reason == Reason.RESOURCE_CONFLICT


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        ({"volume_id": "../../etc/passwd"}, Reason.NAME_INVALID, "volume_id"),
        ({"volume_id": "a/b"}, Reason.NAME_INVALID, "volume_id"),
        ({"volume_id": ".hidden"}, Reason.NAME_INVALID, "volume_id"),
        ({"volume_id": "a..b"}, Reason.NAME_INVALID, "volume_id"),
        ({"volume_id": "x" * 64}, Reason.NAME_INVALID, "volume_id"),
        ({"volume_id": ""}, Reason.FIELD_REQUIRED, "volume_id"),
        ({"volume_id": "a", "object": ""}, Reason.FIELD_REQUIRED, "object"),
        ({"volume_id": "a", "object": "objects/../x"}, Reason.NAME_INVALID, "object"),
        ({"volume_id": "a", "object": f"objects/{'A' * 64}"}, Reason.NAME_INVALID, "object"),
        ({"volume_id": "a", "object": f"objects/{'0' * 64}"}, Reason.RESOURCE_NOT_FOUND, "object"),
        ({"volume_id": "a", "dataset": "x" * 129}, Reason.FIELD_INVALID, "dataset"),
        ({"volume_id": "a", "licence": "two\nlines"}, Reason.FIELD_INVALID, "licence"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    world: World, request_: dict[str, str], reason: Reason, field: str
) -> None:
    with pytest.raises(AtlasError) as caught:
        world.volumes.create(pb.CreateVolumeRequest(**request_))
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_volumes_are_listed_page_by_page(world: World) -> None:
    for number in range(5):
        world.volume(volume_id=f"case-{number}", dataset="odd" if number % 2 else "")
    seen, token = [], ""
    while True:
        response = world.volumes.list(pb.ListVolumesRequest(page_size=2, page_token=token))
        seen += [volume.name for volume in response.volumes]
        token = response.next_page_token
        if not token:
            break
    assert seen == [f"volumes/case-{number}" for number in range(5)]
    odd = world.volumes.list(pb.ListVolumesRequest(dataset="odd", page_size=1))
    assert [volume.name for volume in odd.volumes] == ["volumes/case-1"]
    with pytest.raises(AtlasError) as caught:
        world.volumes.list(pb.ListVolumesRequest(page_token=odd.next_page_token))
    assert caught.value.reason == Reason.PAGE_TOKEN_INVALID


def test_a_withdrawn_volume_is_left_out_of_lists_and_the_first_mark_stays(world: World) -> None:
    kept, gone = world.volume(volume_id="kept"), world.volume(files.ct(1), volume_id="gone")
    request = pb.WithdrawVolumeRequest(name=gone.name, reason="consent was taken back", author="ana")
    assert world.volumes.withdraw(request).withdrawal.reason == "consent was taken back"
    request.reason, request.author = "something else", "ben"
    assert world.volumes.withdraw(request).withdrawal.author == "ana"
    assert [v.name for v in world.volumes.list(pb.ListVolumesRequest()).volumes] == [kept.name]
    everything = world.volumes.list(pb.ListVolumesRequest(show_withdrawn=True)).volumes
    assert [v.HasField("withdrawal") for v in everything] == [True, False]
    assert world.volumes.get(gone.name).withdrawal.reason == "consent was taken back"


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"name": "volumes/nowhere"}, Reason.RESOURCE_NOT_FOUND, "name"),
        ({"reason": ""}, Reason.FIELD_REQUIRED, "reason"),
        ({"author": ""}, Reason.FIELD_REQUIRED, "author"),
        ({"reason": "two\nlines"}, Reason.FIELD_INVALID, "reason"),
    ],
)
def test_a_withdrawal_says_who_and_why(world: World, change: dict[str, str], reason: Reason, field: str) -> None:
    world.volume()
    with pytest.raises(AtlasError) as caught:
        world.volumes.withdraw(
            pb.WithdrawVolumeRequest(**{"name": "volumes/case", "reason": "r", "author": "a", **change})
        )
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert caught.value.remedy or reason == Reason.FIELD_REQUIRED


def test_a_volume_says_where_it_was_scanned(world: World) -> None:
    assert world.volume(hospital="Vanderbilt").hospital == "Vanderbilt"
    with pytest.raises(AtlasError, match="described otherwise"):
        world.volume(hospital="Basel")


def test_a_ct_whose_sform_and_qform_differ_in_orientation_is_refused(world: World) -> None:
    image = nib.Nifti1Image(files.hounsfield().transpose(), files.AFFINE)
    image.set_sform(files.AFFINE, code=1)
    image.set_qform(files.AFFINE @ np.diag([-1, -1, 1, 1]), code=1)
    with pytest.raises(AtlasError) as caught:
        world.volume(bytes(image.to_bytes()))
    assert caught.value.reason == Reason.AFFINE_INVALID
    assert "LPS" in caught.value.message
    assert "RAS" in caught.value.message
    assert world.catalog.find_volume("case") is None
