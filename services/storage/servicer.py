"""StorageService: convert, call, convert."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceServicer
from services.core.access import identity
from services.core.access.identity import Role
from services.core.rpc.interceptor import Context
from services.storage.cases import Cases
from services.storage.catalog.catalog import Catalog
from services.storage.duplicates import Duplicates
from services.storage.label_import import LabelImport
from services.storage.model_uses import model_uses
from services.storage.records import Records
from services.storage.transfers import Transfers
from services.storage.volumes import Volumes

P = ParamSpec("P")
R = TypeVar("R")
CATALOG_THREADS = 16
"""Threads for calls that only ask the catalog; they are short."""


class StorageServicer(StorageServiceServicer):
    """The RPCs. Bulk bytes are `Transfers`' business; everything else runs in threads of three kinds."""

    def __init__(
        self,
        transfers: Transfers,
        volumes: Volumes,
        records: Records,
        catalog: Catalog,
        label_import: LabelImport,
        cases: Cases,
        duplicates: Duplicates,
        *,
        concurrent_ingests: int,
    ) -> None:
        self._transfers, self._volumes, self._records, self._import = transfers, volumes, records, label_import
        self._cases, self._duplicates, self._catalog = cases, duplicates, catalog
        self._short = ThreadPoolExecutor(CATALOG_THREADS, "catalog")
        # Reading volumes and arrays waits for memory: it must not stand in the way of everything else, nor a large
        # import in that of the workers.
        self._long = ThreadPoolExecutor(concurrent_ingests, "ingest")
        self._arrays = ThreadPoolExecutor(concurrent_ingests, "array")

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Context) -> pb.CreateUploadResponse:
        """An upload, open or complete."""
        return pb.CreateUploadResponse(upload=await _run(self._short, self._transfers.create, request))

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.GetUploadResponse:
        """An upload as it stands."""
        return pb.GetUploadResponse(upload=await _run(self._short, self._transfers.get, request.name))

    async def WriteUpload(
        self, request_iterator: AsyncIterator[pb.WriteUploadRequest], context: Context
    ) -> pb.WriteUploadResponse:
        """Bytes in."""
        return pb.WriteUploadResponse(upload=await self._transfers.write(request_iterator))

    async def ReadObject(self, request: pb.ReadObjectRequest, context: Context) -> AsyncIterator[pb.ReadObjectResponse]:
        """Bytes out. They are written here, and not yielded, so that a reader who stops reading is noticed."""
        await self._transfers.read(request, context.write)
        left: list[pb.ReadObjectResponse] = []
        for response in left:
            yield response

    async def CreateVolume(self, request: pb.CreateVolumeRequest, context: Context) -> pb.CreateVolumeResponse:
        """A volume, checked."""
        volume = await _run(self._long, self._volumes.create, request)
        duplicates = await _run(self._long, self._duplicates.of, volume.name)
        return pb.CreateVolumeResponse(volume=volume, duplicates=duplicates)

    async def GetVolume(self, request: pb.GetVolumeRequest, context: Context) -> pb.GetVolumeResponse:
        """One volume."""
        return pb.GetVolumeResponse(volume=await _run(self._short, self._volumes.get, request.name))

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Context) -> pb.ListVolumesResponse:
        """Volumes by id."""
        return await _run(self._short, self._volumes.list, request)

    async def WithdrawVolume(self, request: pb.WithdrawVolumeRequest, context: Context) -> pb.WithdrawVolumeResponse:
        """A volume with its mark."""
        identity.require_acting_as(request.author, "author")
        return pb.WithdrawVolumeResponse(volume=await _run(self._short, self._volumes.withdraw, request))

    async def ListDuplicateGroups(
        self, request: pb.ListDuplicateGroupsRequest, context: Context
    ) -> pb.ListDuplicateGroupsResponse:
        """Groups of volumes that show the same scan."""
        return await _run(self._long, self._duplicates.groups, request)

    async def ImportCase(self, request: pb.ImportCaseRequest, context: Context) -> pb.ImportCaseResponse:
        """A CT with its source's labels, or neither."""
        volume, version = await _run(self._long, self._cases.run, request)
        duplicates = await _run(self._long, self._duplicates.of, volume.name)
        return pb.ImportCaseResponse(volume=volume, label_version=version, duplicates=duplicates)

    async def CreatePrediction(
        self, request: pb.CreatePredictionRequest, context: Context
    ) -> pb.CreatePredictionResponse:
        """A prediction, as first committed."""
        prediction = await _run(self._arrays, self._records.create_prediction, request)
        return pb.CreatePredictionResponse(prediction=prediction)

    async def GetPrediction(self, request: pb.GetPredictionRequest, context: Context) -> pb.GetPredictionResponse:
        """One prediction."""
        return pb.GetPredictionResponse(prediction=await _run(self._short, self._records.predictions.get, request.name))

    async def ListPredictions(self, request: pb.ListPredictionsRequest, context: Context) -> pb.ListPredictionsResponse:
        """A volume's predictions, oldest first."""
        page, token = await _run(
            self._short,
            self._records.predictions.page,
            request.parent,
            request.page_size,
            request.page_token,
            "ListPredictions",
        )
        return pb.ListPredictionsResponse(predictions=page, next_page_token=token)

    async def CreateAttentionMap(
        self, request: pb.CreateAttentionMapRequest, context: Context
    ) -> pb.CreateAttentionMapResponse:
        """An attention map, as first committed."""
        attention_map = await _run(self._arrays, self._records.create_attention_map, request)
        return pb.CreateAttentionMapResponse(attention_map=attention_map)

    async def GetAttentionMap(self, request: pb.GetAttentionMapRequest, context: Context) -> pb.GetAttentionMapResponse:
        """One attention map."""
        return pb.GetAttentionMapResponse(
            attention_map=await _run(self._short, self._records.attention_maps.get, request.name)
        )

    async def ListAttentionMaps(
        self, request: pb.ListAttentionMapsRequest, context: Context
    ) -> pb.ListAttentionMapsResponse:
        """A volume's attention maps, oldest first."""
        page, token = await _run(
            self._short,
            self._records.attention_maps.page,
            request.parent,
            request.page_size,
            request.page_token,
            "ListAttentionMaps",
        )
        return pb.ListAttentionMapsResponse(attention_maps=page, next_page_token=token)

    async def CreateLabelVersion(
        self, request: pb.CreateLabelVersionRequest, context: Context
    ) -> pb.CreateLabelVersionResponse:
        """A label version, as first committed."""
        version = await _run(self._arrays, self._records.create_label_version, request)
        return pb.CreateLabelVersionResponse(label_version=version)

    async def ImportLabelVersion(
        self, request: pb.ImportLabelVersionRequest, context: Context
    ) -> pb.ImportLabelVersionResponse:
        """A label version out of NIfTI files."""
        if request.origin == pb.ORIGIN_REVISION:
            identity.require_acting_as(request.author, "author")
        else:
            identity.require_role(Role.OPERATOR, "Bringing labels of a source", "origin")
        return pb.ImportLabelVersionResponse(label_version=await _run(self._long, self._import.run, request))

    async def GetLabelVersion(self, request: pb.GetLabelVersionRequest, context: Context) -> pb.GetLabelVersionResponse:
        """One label version."""
        return pb.GetLabelVersionResponse(
            label_version=await _run(self._short, self._records.label_versions.get, request.name)
        )

    async def ListLabelVersions(
        self, request: pb.ListLabelVersionsRequest, context: Context
    ) -> pb.ListLabelVersionsResponse:
        """A volume's label versions, oldest first."""
        page, token = await _run(
            self._short,
            self._records.label_versions.page,
            request.parent,
            request.page_size,
            request.page_token,
            "ListLabelVersions",
            request.origin,
        )
        return pb.ListLabelVersionsResponse(label_versions=page, next_page_token=token)

    async def ListModelUses(self, request: pb.ListModelUsesRequest, context: Context) -> pb.ListModelUsesResponse:
        """Where voxels of a model went."""
        return await _run(self._short, model_uses, self._catalog, request)


async def _run(threads: ThreadPoolExecutor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a blocking function in a thread, under the current request id."""
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(function, *args, **kwargs))
