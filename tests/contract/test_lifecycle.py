"""How a service starts and ends as a process."""

import hashlib
import signal
import socket
import subprocess
import threading
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError

from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from abdomenatlas.uncertainty.v1.uncertainty_pb2 import ScoreRequest
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceStub
from tests.components.processes import wait_until
from tests.contract.service_process import SERVICES, command, environment, launched, wait_healthy


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_refuses_to_listen_off_loopback_without_tls(name: str) -> None:
    settings = import_module(f"services.{name}.settings").Settings
    with pytest.raises(ValidationError, match=r"refusing to listen on 0\.0\.0\.0"):
        settings(host="0.0.0.0")


def test_a_process_that_may_not_listen_ends_and_says_why(tmp_path: Path) -> None:
    env = environment("uncertainty", tmp_path, host="0.0.0.0")
    done = subprocess.run(command("uncertainty"), env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "refusing to listen on 0.0.0.0" in done.stderr


@pytest.mark.parametrize("port", ["port", "metrics_port", "health_port"])
def test_a_port_that_is_taken_is_named(port: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        env = environment("uncertainty", tmp_path, **{"port": 0, "metrics_port": 0, port: number})
        done = subprocess.run(command("uncertainty"), env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert f"ATLAS_UNCERTAINTY_{port.upper()}: Nothing can listen at 127.0.0.1:{number}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_call_in_flight_ends_well_when_its_service_is_told_to_stop(tmp_path: Path) -> None:
    """SIGTERM between two chunks of an upload: health says so, the upload completes, the process ends with 0."""
    data = bytes(1000)
    told_to_stop = threading.Event()

    def chunks(name: str) -> Iterator[pb.WriteUploadRequest]:
        yield pb.WriteUploadRequest(name=name, data=data[:500], crc32=zlib.crc32(data[:500]))
        assert told_to_stop.wait(60)
        yield pb.WriteUploadRequest(offset=500, data=data[500:], crc32=zlib.crc32(data[500:]))

    with launched("storage", tmp_path) as storage, grpc.insecure_channel(storage.address) as channel:
        wait_healthy(storage)
        stub = StorageServiceStub(channel)
        digest = hashlib.sha256(data).hexdigest()
        name = stub.CreateUpload(pb.CreateUploadRequest(sha256=digest, size_bytes=1000)).upload.name
        call = stub.WriteUpload.future(chunks(name), timeout=60)
        wait_until(lambda: 'WriteUpload"} 1.0' in storage.metrics(), "the upload", 60)
        storage.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in storage.log.read_text(), "draining", 60)
        told_to_stop.set()
        assert call.result().upload.state == pb.Upload.STATE_COMPLETE
        assert storage.process.wait(30) == 0


@pytest.mark.parametrize("name", ["uncertainty", "merging"])
def test_a_call_that_outlasts_the_drain_does_not_keep_its_service(name: str, tmp_path: Path) -> None:
    """Storage accepts connections and says nothing; the worker that waits for it is told to stop."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with launched(name, tmp_path, storage=address, drain_seconds=0.2) as service:
            wait_healthy(service)
            with grpc.insecure_channel(service.address) as channel:
                if name == "uncertainty":
                    call: Any = UncertaintyServiceStub(channel).Score(ScoreRequest(volume="volumes/case"))
                else:
                    call = MergingServiceStub(channel).Merge(MergeRequest(volume="volumes/case"))
                assert next(call).progress.stage == "queued"
                service.process.send_signal(signal.SIGTERM)
                assert service.process.wait(15) == 0
