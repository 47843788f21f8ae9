"""One interceptor, one client: what every service and every caller gets for nothing."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import (
    UncertaintyServiceServicer,
    UncertaintyServiceStub,
    add_UncertaintyServiceServicer_to_server,
)
from services.cli.stack.ports import free_ports
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.core.rpc.client import PAUSES_SECONDS, connect
from services.core.rpc.progress import stream

# A real service process whose methods succeed, refuse, break, and take their time, as the request says.
SERVICE = textwrap.dedent(
    """
    import asyncio
    import time
    from pydantic_settings import SettingsConfigDict
    from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
    from abdomenatlas.uncertainty.v1 import uncertainty_pb2_grpc as rpc
    from services.core.errors import AtlasError, Reason
    from services.core.memory import MemoryGate
    from services.core.rpc import request_id
    from services.core.rpc.server import run
    from services.core.rpc.settings import ServiceSettings

    gate = MemoryGate(1)

    def hang():
        with gate.hold(1, what="all there is"):
            time.sleep(600)

    class Settings(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix="ATLAS_TRIAL_", frozen=True)
        port: int = 0
        metrics_port: int = 0

    class Servicer(rpc.UncertaintyServiceServicer):
        async def ListProfiles(self, request, context):
            await asyncio.sleep(0.5)
            return pb.ListProfilesResponse(profiles=[pb.Profile(name=request_id.current())])

        async def Score(self, request, context):
            yield pb.ScoreResponse()
            if request.profile == "refuse":
                raise AtlasError(Reason.PROFILE_UNKNOWN, "No such profile.", field="profile", remedy="Use parity.")
            if request.profile == "break":
                raise RuntimeError("a secret")
            if request.profile == "hang":
                await asyncio.to_thread(hang)
            yield pb.ScoreResponse()

    run(Settings(), "abdomenatlas.uncertainty.v1.UncertaintyService", rpc.add_UncertaintyServiceServicer_to_server,
        Servicer(), gate=gate)
    """
)


class Service:
    def __init__(self, folder: Path, **settings: str) -> None:
        self.log = folder / "log"
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE],
            stderr=self.log.open("w"),
            env={**os.environ, "PYTHONPATH": f"{root}:{root / 'gen'}", **settings},
        )
        while not (line := next((x for x in self.lines() if x["event"] == "serving"), None)):
            assert self.process.poll() is None, self.log.read_text()
        self.address = f"127.0.0.1:{line['port']}"
        self.metrics_port = line["metrics_port"]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    yield running
    running.process.kill()
    running.process.wait()


def test_a_refusal_arrives_as_the_error_it_was_raised_as(service: Service) -> None:
    """Reason, message, field and remedy survive the way through gRPC, after the messages that came before."""
    responses = UncertaintyServiceStub(connect(service.address)).Score(pb.ScoreRequest(profile="refuse"))
    next(responses)
    with pytest.raises(AtlasError) as caught:
        next(responses)
    error = caught.value
    assert (error.reason, error.field, error.remedy) == (Reason.PROFILE_UNKNOWN, "profile", "Use parity.")


def test_an_unforeseen_error_hides_its_text_and_is_found_by_its_request_id(service: Service) -> None:
    """What broke stands in the log under the id that the caller is told."""
    with request_id.bound("trial-7"), pytest.raises(AtlasError) as caught:
        list(UncertaintyServiceStub(connect(service.address)).Score(pb.ScoreRequest(profile="break")))
    assert caught.value.reason == Reason.INTERNAL
    assert "secret" not in str(caught.value)
    assert "trial-7" in caught.value.remedy
    line = next(x for x in service.lines() if x.get("reason") == "INTERNAL")
    assert line["request_id"] == "trial-7"
    assert "a secret" in line["exception"]


def test_a_request_id_travels_with_the_call(service: Service) -> None:
    with request_id.bound("from-the-client"):
        response = UncertaintyServiceStub(connect(service.address)).ListProfiles(pb.ListProfilesRequest())
    assert response.profiles[0].name == "from-the-client"


def test_a_malformed_request_id_is_replaced(service: Service) -> None:
    with grpc.insecure_channel(service.address) as channel:
        response = UncertaintyServiceStub(channel).ListProfiles(
            pb.ListProfilesRequest(), metadata=((request_id.METADATA_KEY, "x" * 65),)
        )
    assert response.profiles[0].name not in ("", "x" * 65)


def test_sigterm_lets_the_call_in_flight_end(service: Service) -> None:
    """Health turns first, the running call gets its answer, then the process ends with 0."""
    channel = grpc.insecure_channel(service.address)
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    call = UncertaintyServiceStub(channel).ListProfiles.future(pb.ListProfilesRequest())
    while not any(x.startswith("atlas_rpc_in_flight") and x.endswith(" 1.0") for x in _metrics(service)):
        pass
    service.process.send_signal(signal.SIGTERM)
    assert call.result(timeout=10).profiles
    assert service.process.wait(10) == 0


def test_sigterm_refuses_who_waits_for_memory_and_cuts_off_what_outlasts_the_drain(tmp_path: Path) -> None:
    """A thread that never ends does not keep the process."""
    service = Service(tmp_path, ATLAS_TRIAL_DRAIN_SECONDS="0.5")
    stub = UncertaintyServiceStub(connect(service.address))
    calls = [stub.Score(pb.ScoreRequest(profile="hang")) for _ in range(2)]
    for call in calls:
        next(call)
    while not any(x.startswith("atlas_rpc_in_flight") and x.endswith(" 2.0") for x in _metrics(service)):
        pass
    service.process.send_signal(signal.SIGTERM)
    reasons = []
    for call in calls:
        with pytest.raises(AtlasError) as caught:
            next(call)
        reasons.append(caught.value.reason)
    assert sorted(reasons) == [Reason.DEPENDENCY_UNAVAILABLE, Reason.SHUTTING_DOWN]
    try:
        assert service.process.wait(30) == 0
    finally:
        service.process.kill()


class Profiles(UncertaintyServiceServicer):
    """Answers, or says that it cannot, and counts how often it is asked."""

    def __init__(self, *, is_ready: bool = True) -> None:
        self.asked, self._is_ready = 0, is_ready

    def ListProfiles(self, request: Any, context: Any) -> pb.ListProfilesResponse:  # noqa: N802
        self.asked += 1
        if not self._is_ready:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return pb.ListProfilesResponse(profiles=[pb.Profile(name="parity")])

    def Score(self, request: Any, context: Any) -> Iterator[pb.ScoreResponse]:  # noqa: N802
        self.asked += 1
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        yield pb.ScoreResponse()

    def serve(self, port: int) -> grpc.Server:
        server = grpc.server(ThreadPoolExecutor(1))
        add_UncertaintyServiceServicer_to_server(self, server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        return server


def test_a_request_outlives_the_moment_in_which_a_service_begins_again() -> None:
    [port] = free_ports(1)
    with ThreadPoolExecutor(1) as beside:
        stub = UncertaintyServiceStub(connect(f"127.0.0.1:{port}"))
        asked = beside.submit(stub.ListProfiles, pb.ListProfilesRequest())
        assert not wait([asked], timeout=0.3).done
        server = Profiles().serve(port)  # type: ignore[abstract]  # the other methods are not called
        try:
            assert asked.result().profiles
        finally:
            server.stop(None)


def test_a_request_that_nobody_takes_is_sent_again_within_its_time() -> None:
    [port] = free_ports(1)
    profiles = Profiles(is_ready=False)  # type: ignore[abstract]
    server = profiles.serve(port)
    stub = UncertaintyServiceStub(connect(f"127.0.0.1:{port}"))
    try:
        with pytest.raises(AtlasError, match="does not answer"):
            stub.ListProfiles(pb.ListProfilesRequest())
        assert profiles.asked == 1 + len(PAUSES_SECONDS)
        with pytest.raises(AtlasError):
            stub.ListProfiles(pb.ListProfilesRequest(), timeout=0.9 * PAUSES_SECONDS[0])
        assert profiles.asked == 2 + len(PAUSES_SECONDS)
    finally:
        server.stop(None)


def test_a_stream_is_sent_once() -> None:
    """Under a retry policy of gRPC's it could be lost for ever when its service is killed."""
    [port] = free_ports(1)
    profiles = Profiles()  # type: ignore[abstract]
    server = profiles.serve(port)
    try:
        with pytest.raises(AtlasError, match="does not answer"):
            list(UncertaintyServiceStub(connect(f"127.0.0.1:{port}")).Score(pb.ScoreRequest()))
    finally:
        server.stop(None)
    assert profiles.asked == 1


def test_nobody_listening_is_a_passing_error() -> None:
    with pytest.raises(AtlasError) as caught:
        UncertaintyServiceStub(connect("127.0.0.1:1")).ListProfiles(pb.ListProfilesRequest(), timeout=5)
    assert caught.value.is_passing
    assert caught.value.field == "uncertainty"


def test_it_refuses_to_listen_off_loopback_in_the_open() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SERVICE],
        capture_output=True,
        text=True,
        env={**os.environ, "ATLAS_TRIAL_HOST": "0.0.0.0"},
        check=False,
    )
    assert result.returncode != 0
    assert "without TLS" in result.stderr


def test_progress_is_streamed_while_the_work_runs_and_ends_with_the_result() -> None:
    async def collect() -> list[Any]:
        def work(report: Any) -> str:
            report("reading", 0.25)
            report("scoring", 0.75)
            return "result"

        return [m async for m in stream(work, wrap_progress=lambda p: (p.stage, p.fraction), wrap_result=lambda r: r)]

    assert asyncio.run(collect()) == [("reading", 0.25), ("scoring", 0.75), "result"]


def test_work_whose_caller_left_leaves_no_task_and_its_failure_is_logged() -> None:
    """Whether the caller's task is cancelled or its stream is closed."""
    complaints: list[Any] = []

    async def leave(close: bool) -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        go_on, begun = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def work(report: Any) -> str:
            report("reading", 0.25)
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(10)
            raise RuntimeError("too late")

        messages = stream(work, wrap_progress=lambda p: p.stage, wrap_result=lambda r: r)
        assert await anext(messages) == "reading"
        if close:
            await messages.aclose()  # type: ignore[attr-defined]
        else:
            waiting = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.wait({waiting})
        await asyncio.sleep(0)
        left = len(asyncio.all_tasks())
        go_on.set()
        await asyncio.sleep(0.2)
        return left

    for close in (True, False):
        with structlog.testing.capture_logs() as logs:
            assert asyncio.run(leave(close)) == 2  # this test and the work
            gc.collect()
        assert [entry["event"] for entry in logs] == ["abandoned work failed"]
    assert not complaints


def _metrics(service: Service) -> list[str]:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics") as response:
        return str(response.read().decode()).splitlines()
