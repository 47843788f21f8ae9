"""An in-memory twin of storage, inference, uncertainty and merging: the real protos over real gRPC, no voxels.

Everything that a call makes is kept under a name that follows from its inputs, as the real services do, so a call that
is made again gives back what is there. `World.calls` counts the calls, `World.made` what they made.
"""

# ruff: noqa: N802 (the protos name the methods)
import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from abdomenatlas.inference.v1 import inference_pb2
from abdomenatlas.inference.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from abdomenatlas.merging.v1 import merging_pb2
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceServicer, add_MergingServiceServicer_to_server
from abdomenatlas.storage.v1 import storage_pb2
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceServicer, add_StorageServiceServicer_to_server
from abdomenatlas.type.v1.array_pb2 import Progress
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from abdomenatlas.type.v1.merge_pb2 import MergePolicy
from abdomenatlas.uncertainty.v1 import uncertainty_pb2
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import (
    UncertaintyServiceServicer,
    add_UncertaintyServiceServicer_to_server,
)
from services.core.access.guard import Guard
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.names import content_id
from services.core.rpc import request_id
from services.core.rpc.admission import Admission
from services.core.rpc.convert import geometry_to_proto
from services.core.rpc.interceptor import CallInterceptor

ORGANS = ("liver", "spleen", "pancreas")
CLASS_MAP = "abdomenatlas-1.0"
MODELS = ("models/segresnet/versions/1", "models/unet/versions/1")
GEOMETRY = Geometry((100, 80, 60), (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0))


@dataclass
class World:
    """What the four services know, and how they should behave. `priorities` are per volume id; others get 10."""

    sources: dict[str, tuple[str, ...]]
    """Volume id to the organs that its source labelled."""
    models: list[inference_pb2.Model] = field(default_factory=lambda: [model(name) for name in MODELS])
    priorities: dict[str, int] = field(default_factory=dict)
    organ_mm3: float = 0.0
    """Tissue of every organ that a merge labels. With none there is no foreground, and no control arm is drawn."""
    predict_seconds: float = 0.0
    faults: dict[tuple[str, str], list[AtlasError]] = field(default_factory=dict)
    """(method, volume id) to the errors of its next calls; the last one stays if it is lasting."""
    calls: Counter[tuple[str, ...]] = field(default_factory=Counter)
    made: dict[str, Any] = field(default_factory=dict)
    request_ids: set[str] = field(default_factory=set)
    labels: dict[str, storage_pb2.LabelVersion] = field(default_factory=dict)
    policies: list[MergePolicy] = field(default_factory=list)
    """Of the merges that were asked for, in order."""

    def __post_init__(self) -> None:
        for volume, organs in self.sources.items():
            if organs:
                self.add_label(volume, storage_pb2.ORIGIN_SOURCE, organs, "source")

    def add_label(
        self, volume: str, origin: storage_pb2.Origin.ValueType, organs: Sequence[str], author: str, made_of: str = ""
    ) -> str:
        """Put a label version into storage; its name."""
        name = f"volumes/{volume}/labels/{content_id(volume, str(origin), author, made_of, *organs)}"
        entries = [storage_pb2.OrganLabel(organ=organ, origin=origin, volume_mm3=self.organ_mm3) for organ in organs]
        self.labels[name] = storage_pb2.LabelVersion(
            name=name, origin=origin, organs=entries, author=author, class_map=CLASS_MAP
        )
        return name

    def meet(self, method: str, volume: str, *more: str) -> None:
        """Count a call, and fail if that is planned."""
        self.calls[method, volume, *more] += 1
        self.request_ids.add(request_id.current())
        planned = self.faults.get((method, volume), [])
        if planned:
            raise planned.pop(0) if planned[0].is_passing else planned[0]


def model(name: str, spacing_mm: float = 1.5, class_map: str = CLASS_MAP, ready: bool = True) -> inference_pb2.Model:
    return inference_pb2.Model(
        name=name,
        organs=ORGANS,
        class_map=class_map,
        grid=GridSpec(spacing_mm=spacing_mm),
        ready=ready,
        not_ready_reason="" if ready else "unloaded",
    )


class Storage(StorageServiceServicer):
    def __init__(self, server: "Server") -> None:
        self.server = server

    async def GetVolume(self, request: storage_pb2.GetVolumeRequest, context: Any) -> storage_pb2.GetVolumeResponse:
        _volume(self.server.world, request.name)
        geometry = geometry_to_proto(GEOMETRY)
        return storage_pb2.GetVolumeResponse(
            volume=storage_pb2.Volume(
                name=request.name, geometry=geometry, tissue_mm3=[4e6, 2e6, 1e6, 1e6], dataset="world"
            )
        )

    async def ListVolumes(
        self, request: storage_pb2.ListVolumesRequest, context: Any
    ) -> storage_pb2.ListVolumesResponse:
        names = sorted(name for name in self.server.world.sources if name > request.page_token)
        page = names[: request.page_size]
        return storage_pb2.ListVolumesResponse(
            volumes=[storage_pb2.Volume(name=f"volumes/{name}") for name in page],
            next_page_token=page[-1] if len(names) > len(page) else "",
        )

    async def GetLabelVersion(
        self, request: storage_pb2.GetLabelVersionRequest, context: Any
    ) -> storage_pb2.GetLabelVersionResponse:
        if request.name not in self.server.world.labels:
            raise AtlasError(Reason.RESOURCE_NOT_FOUND, f"no {request.name}", field="name")
        return storage_pb2.GetLabelVersionResponse(label_version=self.server.world.labels[request.name])

    async def ListLabelVersions(
        self, request: storage_pb2.ListLabelVersionsRequest, context: Any
    ) -> storage_pb2.ListLabelVersionsResponse:
        self.server.world.meet("labels", _volume(self.server.world, request.parent))
        found = [
            label
            for name, label in self.server.world.labels.items()
            if name.startswith(f"{request.parent}/") and request.origin in (0, label.origin)
        ]
        return storage_pb2.ListLabelVersionsResponse(label_versions=found)


class Inference(InferenceServiceServicer):
    def __init__(self, server: "Server") -> None:
        self.server = server

    async def ListModels(
        self, request: inference_pb2.ListModelsRequest, context: Any
    ) -> inference_pb2.ListModelsResponse:
        return inference_pb2.ListModelsResponse(models=self.server.world.models)

    async def GetModel(self, request: inference_pb2.GetModelRequest, context: Any) -> inference_pb2.GetModelResponse:
        for known in self.server.world.models:
            newest = known.name.startswith(f"{request.name}/versions/") and not known.superseded
            if known.name == request.name or newest:
                return inference_pb2.GetModelResponse(model=known)
        raise AtlasError(Reason.MODEL_NOT_FOUND, f"no {request.name}", field="name")

    async def Predict(
        self, request: inference_pb2.PredictRequest, context: Any
    ) -> AsyncIterator[inference_pb2.PredictResponse]:
        volume = _volume(self.server.world, request.volume)
        self.server.world.meet("predict", volume, request.model)
        yield inference_pb2.PredictResponse(progress=Progress(stage="predicting", fraction=0.5))
        await asyncio.sleep(self.server.world.predict_seconds)
        name = f"{request.volume}/predictions/{content_id(request.volume, request.model)}"
        self.server.world.made[name] = request.model
        yield inference_pb2.PredictResponse(prediction=storage_pb2.Prediction(name=name))


class Uncertainty(UncertaintyServiceServicer):
    def __init__(self, server: "Server") -> None:
        self.server = server

    async def ListProfiles(
        self, request: uncertainty_pb2.ListProfilesRequest, context: Any
    ) -> uncertainty_pb2.ListProfilesResponse:
        return uncertainty_pb2.ListProfilesResponse(
            profiles=[uncertainty_pb2.Profile(name=name) for name in ("calibrated", "parity")]
        )

    async def Score(
        self, request: uncertainty_pb2.ScoreRequest, context: Any
    ) -> AsyncIterator[uncertainty_pb2.ScoreResponse]:
        volume = _volume(self.server.world, request.volume)
        self.server.world.meet("score", volume)
        _require(self.server.world, request.predictions)
        name = f"{request.volume}/attentionMaps/{content_id(*request.predictions, 'organs', *request.organs)}"
        attention = storage_pb2.AttentionMap(
            name=name,
            profile=request.profile,
            priority=self.server.world.priorities.get(volume, 10),
            organs=[storage_pb2.OrganScore(organ=organ, attention_mm3=100.0) for organ in request.organs],
        )
        self.server.world.made[name] = attention
        yield uncertainty_pb2.ScoreResponse(attention_map=attention)


class Merging(MergingServiceServicer):
    def __init__(self, server: "Server") -> None:
        self.server = server

    async def Compare(
        self, request: merging_pb2.CompareRequest, context: Any
    ) -> AsyncIterator[merging_pb2.CompareResponse]:
        """Half of every organ is the same, whatever the versions."""
        self.server.world.meet("compare", request.first.split("/")[1])
        for organ in request.organs:
            for name in (request.first, request.second):
                assert organ in {label.organ for label in self.server.world.labels[name].organs}
        ml = self.server.world.organ_mm3 / 1000
        organs = [
            merging_pb2.OrganAgreement(organ=organ, dsc=0.5, first_ml=ml, second_ml=ml) for organ in request.organs
        ]
        yield merging_pb2.CompareResponse(comparison=merging_pb2.LabelComparison(organs=organs))

    async def Merge(self, request: merging_pb2.MergeRequest, context: Any) -> AsyncIterator[merging_pb2.MergeResponse]:
        volume = _volume(self.server.world, request.volume)
        self.server.world.meet("merge", volume)
        _require(self.server.world, request.predictions)
        self.server.world.policies.append(request.policy)
        made_of = content_id(*request.predictions, "labels", *request.label_versions, str(request.policy))
        name = self.server.world.add_label(volume, storage_pb2.ORIGIN_AI, ORGANS, "merge", made_of)
        self.server.world.made[name] = (tuple(request.predictions), tuple(request.label_versions))
        yield merging_pb2.MergeResponse(label_version=self.server.world.labels[name])


class Server:
    """The four services of a world on one port of loopback, in a thread of its own; may stop and start again.

    Another world may be put in the place of its world at any time.
    """

    def __init__(self, world: World) -> None:
        self.world, self.port = world, 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(20)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server(interceptors=[CallInterceptor(Admission(Guard(), None))])
        add_StorageServiceServicer_to_server(Storage(self), server)  # type: ignore[abstract]  # others are not called
        add_InferenceServiceServicer_to_server(Inference(self), server)  # type: ignore[abstract]  # likewise
        add_UncertaintyServiceServicer_to_server(Uncertainty(self), server)  # type: ignore[abstract]  # likewise
        add_MergingServiceServicer_to_server(Merging(self), server)
        self.port = server.add_insecure_port(self.address)
        await server.start()
        started.set()
        await self._stop.wait()
        await server.stop(None)


def _volume(world: World, name: str) -> str:
    volume = name.removeprefix("volumes/")
    if volume not in world.sources:
        raise AtlasError(Reason.RESOURCE_NOT_FOUND, f"no {name}", field="name")
    return volume


def _require(world: World, names: Sequence[str]) -> None:
    for name in names:
        if name not in world.made:
            raise AtlasError(Reason.RESOURCE_NOT_FOUND, f"no {name}", field="predictions")
