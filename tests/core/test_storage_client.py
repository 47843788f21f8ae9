"""Bulk bytes over a line that stalls: what moves is taken up again, what never moves ends."""
# ruff: noqa: N802 (the protos name the methods)

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceServicer, add_StorageServiceServicer_to_server
from abdomenatlas.type.v1.array_pb2 import ObjectRef
from services.core import storage as client
from services.core.errors import AtlasError, Reason
from services.core.storage import Storage, found

DATA = bytes(range(80))
SHA = hashlib.sha256(DATA).hexdigest()
NAME = f"objects/{SHA}"
PIECE = 10


class Stalling(StorageServiceServicer):
    """Moves ten bytes a call, or none, then says nothing until the caller has had enough."""

    def __init__(self, piece: int) -> None:
        self.piece, self.committed, self.calls = piece, 0, 0

    def ReadObject(self, request: pb.ReadObjectRequest, context: Any) -> Iterator[pb.ReadObjectResponse]:
        """Ten bytes."""
        self.calls += 1
        if data := DATA[request.offset : request.offset + self.piece]:
            yield pb.ReadObjectResponse(offset=request.offset, data=data, crc32=zlib.crc32(data))
        if not self.piece or request.offset + len(data) < len(DATA):
            _stall(context)

    def _upload(self) -> pb.Upload:
        state = pb.Upload.STATE_COMPLETE if self.committed == len(DATA) else pb.Upload.STATE_OPEN
        object_ = ObjectRef(name=NAME, sha256=SHA, size_bytes=len(DATA))
        return pb.Upload(name="uploads/one", state=state, committed_bytes=self.committed, object=object_)

    def CreateUpload(self, request: pb.CreateUploadRequest, context: Any) -> pb.CreateUploadResponse:
        """The one upload."""
        return pb.CreateUploadResponse(upload=self._upload())

    def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.GetUploadResponse:
        """The one upload."""
        return pb.GetUploadResponse(upload=self._upload())

    def WriteUpload(self, request_iterator: Iterator[pb.WriteUploadRequest], context: Any) -> pb.WriteUploadResponse:
        """Ten bytes."""
        self.calls += 1
        chunk = next(request_iterator)
        assert chunk.offset == self.committed
        self.committed += self.piece
        if self.committed < len(DATA):
            _stall(context)
        return pb.WriteUploadResponse(upload=self._upload())


def _stall(context: Any) -> None:
    while context.is_active():
        time.sleep(0.02)


Connect = Callable[[Stalling], Storage]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Serves one of these; a call may take 0.4 s."""
    monkeypatch.setattr(client, "READ_SECONDS", 0.4)
    monkeypatch.setattr(client, "WRITE_SECONDS", 0.4)
    server = grpc.server(ThreadPoolExecutor(8))

    def serve(servicer: Stalling) -> Storage:
        add_StorageServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return Storage(f"127.0.0.1:{port}")

    yield serve
    server.stop(None).wait()


def test_reading_goes_on_where_a_stalled_call_stood(connect: Connect) -> None:
    """More often than a call that moves nothing is tried."""
    servicer = Stalling(PIECE)  # type: ignore[abstract]  # the other methods are not called
    assert connect(servicer).get(NAME) == DATA
    assert servicer.calls == len(DATA) // PIECE > client.ATTEMPTS


def test_writing_goes_on_where_a_stalled_call_stood(connect: Connect) -> None:
    servicer = Stalling(PIECE)  # type: ignore[abstract]  # the other methods are not called
    assert connect(servicer).put(DATA).name == NAME
    assert servicer.calls == len(DATA) // PIECE > client.ATTEMPTS


def test_storage_that_says_nothing_is_given_up(connect: Connect) -> None:
    """With a passing error; it does not hold its caller for ever."""
    servicer = Stalling(0)  # type: ignore[abstract]  # the other methods are not called
    storage = connect(servicer)
    for action in (lambda: storage.get(NAME), lambda: storage.put(DATA)):
        servicer.calls = 0
        with pytest.raises(AtlasError) as caught:
            action()
        assert caught.value.reason == Reason.DEADLINE_EXCEEDED
        assert servicer.calls == client.ATTEMPTS


def test_what_is_not_there_is_none() -> None:
    def refuse(reason: Reason) -> Callable[[], None]:
        def get() -> None:
            raise AtlasError(reason, "No.")

        return get

    assert found(lambda: 7) == 7
    assert found(refuse(Reason.RESOURCE_NOT_FOUND)) is None
    with pytest.raises(AtlasError):
        found(refuse(Reason.INTERNAL))
