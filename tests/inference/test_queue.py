"""The queue for slots: first come, first served; who leaves gives up the place."""

import asyncio
import threading
from typing import Any

import pytest

from abdomenatlas.inference.v1 import inference_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2
from services.core.rpc import progress
from services.inference.servicer import InferenceServicer


class Held:
    """Stands for the predictor: holds every prediction until it is told to go on, and remembers their order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.go_on = threading.Event()

    def predict(self, volume: str, _model: str, _report: progress.Report) -> storage_pb2.Prediction:
        """Wait."""
        self.order.append(volume)
        assert self.go_on.wait(10)
        return storage_pb2.Prediction(name=volume)


def request(number: int) -> pb.PredictRequest:
    return pb.PredictRequest(volume=f"volumes/{number}", model="models/unet/versions/1")


def test_a_call_keeps_its_place_while_it_says_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three calls, each told several times that it waits: they come in the order in which they asked."""
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.02)
    held = Held()

    async def run() -> None:
        unused: Any = None
        servicer = InferenceServicer(unused, held, unused, 1)  # type: ignore[arg-type]

        async def call(number: int) -> None:
            async for _ in servicer.Predict(request(number), unused):
                pass

        calls = []
        for number in range(4):
            calls.append(asyncio.create_task(call(number)))
            await asyncio.sleep(0.013)
        await asyncio.sleep(0.1)
        held.go_on.set()
        await asyncio.gather(*calls)

    asyncio.run(run())
    assert held.order == [f"volumes/{number}" for number in range(4)]


def test_who_leaves_the_queue_takes_no_slot_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that still waits, nor one whose turn came the moment it left."""
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.02)
    held = Held()

    async def run() -> None:
        unused: Any = None
        servicer = InferenceServicer(unused, held, unused, 1)  # type: ignore[arg-type]
        first = asyncio.ensure_future(anext(servicer.Predict(request(0), unused)))
        await asyncio.sleep(0.05)
        streams = [servicer.Predict(request(number), unused) for number in (1, 2)]
        for stream in streams:
            assert (await anext(stream)).progress.stage == "queued"
        await streams[0].aclose()  # type: ignore[attr-defined]
        held.go_on.set()
        await first
        await asyncio.sleep(0.05)
        await streams[1].aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            async for message in servicer.Predict(request(3), unused):
                last = message
        assert last.prediction.name == "volumes/3"

    asyncio.run(run())
    assert held.order == ["volumes/0", "volumes/3"]
