"""InferenceService: convert, call, convert."""

import asyncio
from collections.abc import AsyncIterator

from abdomenatlas.inference.v1 import inference_pb2 as pb
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceServicer
from abdomenatlas.storage.v1.storage_pb2 import Prediction
from abdomenatlas.type.v1.array_pb2 import Progress
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from services.core.names import parse
from services.core.rpc import progress
from services.core.rpc.interceptor import Context
from services.core.rpc.paging import Page
from services.inference.model import Model
from services.inference.prediction import Predictor
from services.inference.promotion import Promoter
from services.inference.triton import Triton

MODEL = "models/*/versions/*"


class InferenceServicer(InferenceServiceServicer):
    """Models as Triton has them, and predictions, at most `concurrent` of them at once."""

    def __init__(self, triton: Triton, predictor: Predictor, promoter: Promoter, concurrent: int) -> None:
        self._triton, self._predictor, self._promoter = triton, predictor, promoter
        self._slots = asyncio.Semaphore(concurrent)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Models ordered by name."""
        page = Page.of(request.page_size, request.page_token, "ListModels", (str,))
        models = await asyncio.to_thread(self._triton.models)
        left = [model for model in models if page.after is None or (model.name,) > page.after]
        shown, token = page.cut(left, lambda model: (model.name,))
        return pb.ListModelsResponse(models=map(_message, shown), next_page_token=token)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """One model."""
        model, version = _parsed(request.name)
        return pb.GetModelResponse(model=_message(await asyncio.to_thread(self._triton.model, model, version)))

    async def PromoteModel(self, request: pb.PromoteModelRequest, context: Context) -> pb.PromoteModelResponse:
        """The version as it is served now."""
        model, version = parse(request.name, MODEL, "name")
        promoted = await asyncio.to_thread(self._promoter.promote, model, version)
        return pb.PromoteModelResponse(model=_message(promoted))

    async def RollbackModel(self, request: pb.RollbackModelRequest, context: Context) -> pb.RollbackModelResponse:
        """The version that is newest now."""
        newest = await asyncio.to_thread(self._promoter.rollback, *_parsed(request.name))
        return pb.RollbackModelResponse(model=_message(newest))

    async def Predict(self, request: pb.PredictRequest, context: Context) -> AsyncIterator[pb.PredictResponse]:
        """Progress, then the prediction."""
        parse(request.volume, "volumes/*", "volume")
        parse(request.model, MODEL, "model")
        slot = asyncio.create_task(self._slots.acquire())
        try:
            while not (await asyncio.wait({slot}, timeout=progress.HEARTBEAT_SECONDS))[0]:
                yield _progress(Progress(stage="queued"))
        except BaseException:  # the caller went away
            if not slot.cancel():
                self._slots.release()
            raise
        loop = asyncio.get_running_loop()

        def work(report: progress.Report) -> Prediction:
            # The slot is the work's, not the call's: the work goes on if the caller goes away.
            try:
                return self._predictor.predict(request.volume, request.model, report)
            finally:
                loop.call_soon_threadsafe(self._slots.release)

        async for message in progress.stream(work, wrap_progress=_progress, wrap_result=_result):
            yield message


def _parsed(name: str) -> tuple[str, str]:
    """Model and version, "" if the name has none."""
    if name.count("/") == 1:
        return parse(name, "models/*", "name")[0], ""
    model, version = parse(name, MODEL, "name")
    return model, version


def _progress(message: Progress) -> pb.PredictResponse:
    return pb.PredictResponse(progress=message)


def _result(message: Prediction) -> pb.PredictResponse:
    return pb.PredictResponse(prediction=message)


def _message(model: Model) -> pb.Model:
    message = pb.Model(
        name=model.name,
        ready=model.fault is None,
        not_ready_reason=str(model.fault or ""),
        superseded=model.superseded,
    )
    if model.card:
        message.architecture = model.card.architecture
        message.organs.extend(model.card.organs)
        message.class_map = model.card.class_map
        message.grid.CopyFrom(GridSpec(spacing_mm=model.card.spacing_mm))
        message.weights_sha256 = model.card.weights_sha256
        message.dsc.update(model.card.dsc)
    return message
