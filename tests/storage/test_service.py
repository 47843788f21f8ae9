"""Storage as a process: streams, deaths of either side, several processes on one store."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.storage import CHUNK_BYTES, Storage
from tests.storage import files
from tests.storage.conftest import Environment, Process, Start

DATA = os.urandom(40 * CHUNK_BYTES + 17)
SHA = hashlib.sha256(DATA).hexdigest()


def create(storage: Storage, data: bytes = DATA, **fields: Any) -> pb.Upload:
    request = pb.CreateUploadRequest(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), **fields)
    return storage.rpc.CreateUpload(request).upload


def chunks(
    upload: pb.Upload, data: bytes = DATA, start: int = 0, count: int = 10**6
) -> Iterator[pb.WriteUploadRequest]:
    for offset in range(start, len(data), CHUNK_BYTES)[:count]:
        part = data[offset : offset + CHUNK_BYTES]
        yield pb.WriteUploadRequest(name=upload.name, offset=offset, data=part, crc32=zlib.crc32(part))


def refusal(action: Any, *args: Any) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        action(*args)
    return caught.value


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_bytes_go_in_and_come_out_in_ranges(process: Process) -> None:
    storage = process.storage
    ref = storage.put(DATA)
    assert (ref.sha256, ref.size_bytes, ref.name) == (SHA, len(DATA), f"objects/{SHA}")
    assert storage.get(ref) == DATA
    responses = list(storage.rpc.ReadObject(pb.ReadObjectRequest(name=ref.name, offset=5, length=3 * CHUNK_BYTES)))
    assert b"".join(r.data for r in responses) == DATA[5 : 5 + 3 * CHUNK_BYTES]
    assert [r.offset for r in responses] == [5 + n * CHUNK_BYTES for n in range(3)]
    assert all(r.size_bytes == len(DATA) and r.crc32 == zlib.crc32(r.data) for r in responses)
    assert list(storage.rpc.ReadObject(pb.ReadObjectRequest(name=ref.name, offset=len(DATA)))) == []
    for offset, length in ((len(DATA) + 1, 0), (5, len(DATA)), (2**63, 2**63)):
        request = pb.ReadObjectRequest(name=ref.name, offset=offset, length=length)
        assert refusal(list, storage.rpc.ReadObject(request)).reason == Reason.FIELD_INVALID


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"objects/{'0' * 64}", Reason.RESOURCE_NOT_FOUND),
        ("objects/../../../etc/passwd", Reason.NAME_INVALID),
        (f"objects/../{'0' * 61}", Reason.NAME_INVALID),
        ("", Reason.FIELD_REQUIRED),
    ],
)
def test_names_that_are_no_objects_are_refused(process: Process, name: str, reason: Reason) -> None:
    assert refusal(list, process.storage.rpc.ReadObject(pb.ReadObjectRequest(name=name))).reason == reason


def test_bad_chunks_are_refused_and_nothing_appears(process: Process, tmp_path: Path) -> None:
    storage, upload = process.storage, create(process.storage)

    def write(**changes: Any) -> pb.WriteUploadResponse:
        request = next(chunks(upload))
        for field, value in changes.items():
            setattr(request, field, value)
        return storage.rpc.WriteUpload(iter([request]))

    big = DATA[: CHUNK_BYTES + 1]
    for changes, reason in (
        ({"crc32": 1}, Reason.DIGEST_MISMATCH),
        ({"offset": 5}, Reason.UPLOAD_OFFSET_MISMATCH),
        ({"offset": 2**63}, Reason.UPLOAD_OFFSET_MISMATCH),
        ({"data": big, "crc32": zlib.crc32(big)}, Reason.FIELD_INVALID),
        ({"name": ""}, Reason.FIELD_REQUIRED),
        ({"name": "uploads/../x"}, Reason.NAME_INVALID),
        ({"name": "uploads/unknown"}, Reason.RESOURCE_NOT_FOUND),
    ):
        assert refusal(lambda changes=changes: write(**changes)).reason == reason
    assert refusal(storage.rpc.WriteUpload, iter([])).reason == Reason.FIELD_REQUIRED
    jump = [*chunks(upload, count=2), *chunks(upload, start=3 * CHUNK_BYTES, count=1)]
    assert refusal(storage.rpc.WriteUpload, iter(jump)).reason == Reason.UPLOAD_OFFSET_MISMATCH
    assert storage.rpc.GetUpload(pb.GetUploadRequest(name=upload.name)).upload.committed_bytes == 0
    assert files_below(tmp_path / "objects") == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"sha256": "x", "size_bytes": 1}, Reason.FIELD_INVALID),
        ({"sha256": SHA, "size_bytes": 0}, Reason.FIELD_INVALID),
        ({"sha256": SHA, "size_bytes": 2**40}, Reason.FILE_TOO_LARGE),
        ({"sha256": SHA, "size_bytes": 1, "request_id": "x" * 65}, Reason.FIELD_INVALID),
    ],
)
def test_uploads_that_make_no_sense_are_refused(process: Process, fields: Any, reason: Reason) -> None:
    assert refusal(process.storage.rpc.CreateUpload, pb.CreateUploadRequest(**fields)).reason == reason


def test_bytes_with_another_digest_never_become_an_object(process: Process, tmp_path: Path) -> None:
    upload = create(process.storage)
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    assert refusal(process.storage.rpc.WriteUpload, chunks(upload, wrong)).reason == Reason.DIGEST_MISMATCH
    assert files_below(tmp_path / "objects") == []
    assert process.storage.put(DATA).sha256 == SHA


def test_a_client_that_vanishes_leaves_nothing_visible_and_resumes(process: Process, tmp_path: Path) -> None:
    upload, storage = create(process.storage), process.storage
    sent, vanish = threading.Event(), threading.Event()

    def hanging() -> Iterator[pb.WriteUploadRequest]:
        yield from chunks(upload, count=25)
        sent.set()
        vanish.wait(30)

    call = storage.rpc.WriteUpload.future(hanging())
    assert sent.wait(30)
    _wait(
        lambda: storage.rpc.GetUpload(pb.GetUploadRequest(name=upload.name)).upload.committed_bytes >= 16 * CHUNK_BYTES
    )
    call.cancel()
    vanish.set()
    stands = storage.rpc.GetUpload(pb.GetUploadRequest(name=upload.name)).upload
    assert stands.state == pb.Upload.STATE_OPEN
    assert 16 * CHUNK_BYTES <= stands.committed_bytes < len(DATA)
    assert refusal(storage.get, f"objects/{SHA}").reason == Reason.RESOURCE_NOT_FOUND
    done = storage.rpc.WriteUpload(chunks(upload, start=stands.committed_bytes)).upload
    assert done.state == pb.Upload.STATE_COMPLETE
    assert storage.get(done.object) == DATA
    assert files_below(tmp_path / "objects") == [SHA]


def test_a_server_that_is_killed_goes_on_where_it_stood(start: Start, local: Environment, tmp_path: Path) -> None:
    with start(local) as first:
        upload = create(first.storage)
        sent = threading.Event()

        def hanging() -> Iterator[pb.WriteUploadRequest]:
            yield from chunks(upload, count=30)
            sent.set()
            time.sleep(30)

        call = first.storage.rpc.WriteUpload.future(hanging())
        assert sent.wait(30)
        _wait(lambda: _committed(first.storage, upload) >= 16 * CHUNK_BYTES)
        os.killpg(first.popen.pid, signal.SIGKILL)
        first.popen.wait()
        assert refusal(call.result).reason == Reason.DEPENDENCY_UNAVAILABLE
    with start(local) as second:
        stands = _committed(second.storage, upload)
        assert 16 * CHUNK_BYTES <= stands < len(DATA)
        assert refusal(second.storage.get, f"objects/{SHA}").reason == Reason.RESOURCE_NOT_FOUND
        assert second.storage.put(DATA).sha256 == SHA
        assert second.storage.get(f"objects/{SHA}") == DATA
        sent_bytes = _metric(second, 'atlas_storage_bytes_total{direction="in"}')
        assert sent_bytes <= len(DATA) - stands
    assert files_below(tmp_path / "objects") == [SHA]


def test_a_silent_stream_is_ended_and_an_old_upload_given_up(start: Start, local: Environment, tmp_path: Path) -> None:
    settings = {**local, "upload_idle_seconds": 0.5, "upload_ttl_seconds": 2, "sweep_seconds": 0.5}
    with start(settings) as process:
        upload = create(process.storage)

        def silent() -> Iterator[pb.WriteUploadRequest]:
            yield from chunks(upload, count=9)
            time.sleep(10)

        assert refusal(process.storage.rpc.WriteUpload, silent()).reason == Reason.DEADLINE_EXCEEDED
        assert _committed(process.storage, upload) == 8 * CHUNK_BYTES
        _wait(lambda: files_below(tmp_path / "objects") == [])
        error = refusal(process.storage.rpc.WriteUpload, chunks(upload, start=8 * CHUNK_BYTES))
        assert error.reason == Reason.UPLOAD_EXPIRED
        assert process.storage.put(DATA).sha256 == SHA


def test_a_reader_that_stops_reading_gives_its_place_to_the_next(start: Start, local: Environment) -> None:
    with start({**local, "upload_idle_seconds": 1, "concurrent_streams": 1}) as process:
        name = process.storage.put(DATA * 4).name
        stopped = process.storage.rpc.ReadObject(pb.ReadObjectRequest(name=name))
        assert next(iter(stopped)).offset == 0
        assert process.storage.get(name) == DATA * 4
        assert refusal(list, stopped).reason == Reason.DEADLINE_EXCEEDED


def test_two_processes_on_one_database_and_bucket_work_together(
    start: Start, s3: Environment, postgres_url: str
) -> None:
    settings = {**s3, "database_url": postgres_url, "sweep_seconds": 0.5}
    with start(settings) as one, start(settings) as two:
        upload = create(one.storage)
        one.storage.rpc.WriteUpload(chunks(upload, count=10))
        stands = _committed(two.storage, upload)
        assert stands == 10 * CHUNK_BYTES
        assert two.storage.rpc.WriteUpload(chunks(upload, start=stands)).upload.state == pb.Upload.STATE_COMPLETE
        assert one.storage.get(f"objects/{SHA}") == DATA
        results: list[pb.Volume] = []
        failures: list[Exception] = []

        def import_case(storage: Storage) -> None:
            try:
                for seed in range(4):
                    ref = storage.put(files.ct(seed))
                    request = pb.CreateVolumeRequest(volume_id=f"case-{seed}", object=ref.name)
                    results.append(storage.rpc.CreateVolume(request).volume)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=import_case, args=(p.storage,)) for p in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len({volume.SerializeToString(deterministic=True) for volume in results}) == 4
        listed = two.storage.rpc.ListVolumes(pb.ListVolumesRequest()).volumes
        assert [volume.name for volume in listed] == [f"volumes/case-{seed}" for seed in range(4)]


def test_a_case_goes_through_all_catalog_calls(process: Process) -> None:
    rpc, storage = process.storage.rpc, process.storage
    ct, mask = storage.put(files.ct()), storage.put(files.mask(files.ball(4)))
    volume = rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="case", object=ct.name)).volume
    assert rpc.GetVolume(pb.GetVolumeRequest(name=volume.name)).volume == volume
    file = pb.LabelFile(object=mask.name, organ="liver", display_name="liver.nii.gz")
    request = pb.ImportLabelVersionRequest(
        parent=volume.name, files=[file], class_map="abdomenatlas-1.0", origin=pb.ORIGIN_SOURCE, author="amos22"
    )
    version = rpc.ImportLabelVersion(request).label_version
    assert (storage.array(version.masks).channel("liver") == files.ball(4)).all()
    assert rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=version.name)).label_version == version
    listed = rpc.ListLabelVersions(pb.ListLabelVersionsRequest(parent=volume.name))
    assert list(listed.label_versions) == [version]
    assert not rpc.ListPredictions(pb.ListPredictionsRequest(parent=volume.name)).predictions
    assert not rpc.ListAttentionMaps(pb.ListAttentionMapsRequest(parent=volume.name)).attention_maps
    gone = "0" * 32
    for call, request_ in (
        (rpc.GetPrediction, pb.GetPredictionRequest(name=f"{volume.name}/predictions/{gone}")),
        (rpc.GetAttentionMap, pb.GetAttentionMapRequest(name=f"{volume.name}/attentionMaps/{gone}")),
        (rpc.GetVolume, pb.GetVolumeRequest(name="volumes/nowhere")),
    ):
        assert refusal(call, request_).reason == Reason.RESOURCE_NOT_FOUND


def test_health_reflection_and_metrics(process: Process) -> None:
    with grpc.insecure_channel(process.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="abdomenatlas.storage.v1.StorageService")
        assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        assert "abdomenatlas.storage.v1.StorageService" in ProtoReflectionDescriptorDatabase(channel).get_services()
    process.storage.put(b"x" * 1000)
    assert _metric(process, 'atlas_storage_bytes_total{direction="in"}') == 1000


def test_migrating_alone(local: Environment, tmp_path: Path) -> None:
    assert _run(local, "migrate").returncode == 0
    assert (tmp_path / "catalog.db").exists()
    assert not (tmp_path / "objects").exists()


def test_a_store_that_does_not_answer_ends_the_service_with_the_reason(local: Environment) -> None:
    url = "postgresql+psycopg://atlas:secret-word@127.0.0.1:9/atlas"
    done = _run({**local, "database_url": url, "port": "0", "metrics_port": "0"})
    assert done.returncode == 1
    assert "The catalog's database does not answer." in done.stderr
    assert "secret-word" not in done.stderr
    assert "Traceback" not in done.stderr


def _run(settings: Environment, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {f"ATLAS_STORAGE_{name.upper()}": value for name, value in settings.items()}
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "services.storage", *arguments],
        env={**environment, "PYTHONPATH": f"{root}:{root / 'gen'}"},
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )


def _committed(storage: Storage, upload: pb.Upload) -> int:
    return storage.rpc.GetUpload(pb.GetUploadRequest(name=upload.name)).upload.committed_bytes


def _metric(process: Process, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics_port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


def _wait(ready: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
