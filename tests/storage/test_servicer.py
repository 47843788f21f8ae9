"""Calls that wait for memory do not stand in the way of those that only ask the catalog."""

import asyncio
from pathlib import Path
from typing import Any

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.memory import MemoryGate
from services.storage.servicer import CATALOG_THREADS, StorageServicer
from tests.storage import test_records
from tests.storage.world import World


def test_records_that_wait_for_memory_leave_the_catalog_free(tmp_path: Path) -> None:
    gate = MemoryGate(2**30)
    world = World(tmp_path, gate=gate)
    world.volume()
    unused: Any = None
    parts = (world.volumes, world.records, unused, world.label_import, world.cases, world.duplicates)
    servicer = StorageServicer(unused, *parts, concurrent_ingests=2)
    request = pb.CreatePredictionRequest(
        parent="volumes/case",
        prediction_id=test_records.ID,
        prediction=test_records.predict(world),
    )

    async def ask() -> str:
        with gate.hold(gate.budget_bytes, what="somebody else"):
            waiting = [
                asyncio.create_task(servicer.CreatePrediction(request, unused)) for _ in range(2 * CATALOG_THREADS)
            ]
            await asyncio.sleep(0.5)
            volume = await asyncio.wait_for(servicer.GetVolume(pb.GetVolumeRequest(name="volumes/case"), unused), 5)
            assert not any(task.done() for task in waiting)
        await asyncio.gather(*waiting)
        return volume.volume.name

    assert asyncio.run(ask()) == "volumes/case"
