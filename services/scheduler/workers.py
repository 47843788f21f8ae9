"""The calls that the scheduler makes to the other services. Names go out and come back, never voxels."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from google.protobuf import json_format

from abdomenatlas.inference.v1 import inference_pb2
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.merging.v1 import merging_pb2
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.storage.v1 import storage_pb2
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from abdomenatlas.uncertainty.v1 import uncertainty_pb2
from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceStub
from services.core.errors import AtlasError, Reason
from services.core.labelversions import current, in_words_of
from services.core.rpc.client import connect
from services.scheduler.retry import Interrupted
from services.scheduler.settings import Settings

PAGE = 1000


class _Cancellable(Protocol):
    def cancel(self) -> object: ...


class _Watch:
    """Cancels a call that has said nothing for `seconds`: its end was lost, and its deadline may be an hour away."""

    def __init__(self, call: _Cancellable, seconds: float) -> None:
        self._call, self._seconds = call, seconds

    def __enter__(self) -> "_Watch":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def heard(self) -> None:
        """The call gave a sign of life."""
        self._timer.cancel()
        self._start()

    def _start(self) -> None:
        self._timer = threading.Timer(self._seconds, self._call.cancel)
        self._timer.daemon = True
        self._timer.start()


class Workers:
    """Storage, inference, uncertainty and merging. Errors are `AtlasError`; after `stop`, calls raise `Interrupted`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels = [
            connect(address, settings.credentials)
            for address in (settings.storage, settings.inference, settings.uncertainty, settings.merging)
        ]
        self._storage = StorageServiceStub(self._channels[0])
        self._inference = InferenceServiceStub(self._channels[1])
        self._uncertainty = UncertaintyServiceStub(self._channels[2])
        self._merging = MergingServiceStub(self._channels[3])
        self._stopping = threading.Event()
        self._running: set[_Cancellable] = set()

    def stop(self) -> None:
        """Cut off the long calls; what the workers commit meanwhile stays, and the calls are made again later."""
        self._stopping.set()
        for call in list(self._running):
            call.cancel()

    def close(self) -> None:
        """Give the connections back."""
        for channel in self._channels:
            channel.close()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the process lives."""
        if self._stopping.wait(seconds):
            raise Interrupted

    def predict(self, volume: str, model: str) -> str:
        """Name of the prediction of "volumes/{volume}" by a model."""
        request = inference_pb2.PredictRequest(volume=volume, model=model)
        stream = self._inference.Predict(request, timeout=self._settings.predict_seconds)
        return str(self._result(stream, "prediction").name)

    def score(
        self, volume: str, predictions: Sequence[str], profile: str, organs: Sequence[str]
    ) -> storage_pb2.AttentionMap:
        """The attention map over `organs`, of which there must be one at least."""
        request = uncertainty_pb2.ScoreRequest(volume=volume, predictions=predictions, profile=profile, organs=organs)
        stream = self._uncertainty.Score(request, timeout=self._settings.score_seconds)
        attention: storage_pb2.AttentionMap = self._result(stream, "attention_map")
        return attention

    def merge(
        self, volume: str, predictions: Sequence[str], label_versions: Sequence[str], policy: Mapping[str, Any]
    ) -> storage_pb2.LabelVersion:
        """The merged label version, by a policy that is protobuf JSON."""
        request = merging_pb2.MergeRequest(volume=volume, predictions=predictions, label_versions=label_versions)
        json_format.ParseDict(dict(policy), request.policy)
        stream = self._merging.Merge(request, timeout=self._settings.merge_seconds)
        merged: storage_pb2.LabelVersion = self._result(stream, "label_version")
        return merged

    def differing_mm3(self, first: str, second: str, organs: Sequence[str]) -> float:
        """Tissue that is labelled in one of two label versions and not in the other, summed over `organs` of both.

        Of two masks A and B that is |A| + |B| - 2 |A and B| = (|A| + |B|) (1 - DSC).
        """
        request = merging_pb2.CompareRequest(first=first, second=second, organs=organs)
        stream = self._merging.Compare(request, timeout=self._settings.merge_seconds)
        found: merging_pb2.LabelComparison = self._result(stream, "comparison")
        # Without a DSC both masks are empty.
        return sum((o.first_ml + o.second_ml) * 1000 * (1 - o.dsc) for o in found.organs if o.HasField("dsc"))

    def source_labels(self, volume: str, class_map: str) -> list[storage_pb2.LabelVersion]:
        """What the volume's source labelled, oldest first, by the newest version of its dataset's map.

        In the words of `class_map` where the source has any; else in its own, and no merge takes them with others.
        """
        versions: list[storage_pb2.LabelVersion] = []
        request = storage_pb2.ListLabelVersionsRequest(parent=volume, page_size=PAGE, origin=storage_pb2.ORIGIN_SOURCE)
        while True:
            response = self._storage.ListLabelVersions(request)
            versions.extend(response.label_versions)
            if not response.next_page_token:
                # In this order, or a later import by another class map would hide what there is in this one.
                return current(in_words_of(class_map, versions))
            request.page_token = response.next_page_token

    def label_version(self, name: str) -> storage_pb2.LabelVersion:
        """One label version. Raises RESOURCE_NOT_FOUND."""
        response = self._storage.GetLabelVersion(storage_pb2.GetLabelVersionRequest(name=name))
        return response.label_version

    def volume(self, name: str) -> storage_pb2.Volume:
        """The record of "volumes/{volume}". Raises RESOURCE_NOT_FOUND."""
        return self._storage.GetVolume(storage_pb2.GetVolumeRequest(name=name)).volume

    def volumes(self) -> Iterator[str]:
        """Names of all volumes."""
        token = ""
        while True:
            request = storage_pb2.ListVolumesRequest(page_size=PAGE, page_token=token)
            response = self._storage.ListVolumes(request)
            yield from (volume.name for volume in response.volumes)
            if not (token := response.next_page_token):
                return

    def models(self) -> Iterator[inference_pb2.Model]:
        """All models, by name."""
        token = ""
        while True:
            request = inference_pb2.ListModelsRequest(page_size=PAGE, page_token=token)
            response = self._inference.ListModels(request)
            yield from response.models
            if not (token := response.next_page_token):
                return

    def model(self, name: str) -> inference_pb2.Model:
        """One model. Raises MODEL_NOT_FOUND."""
        return self._inference.GetModel(inference_pb2.GetModelRequest(name=name)).model

    def profiles(self) -> list[str]:
        """Names of the attention profiles."""
        response = self._uncertainty.ListProfiles(uncertainty_pb2.ListProfilesRequest())
        return [profile.name for profile in response.profiles]

    def _result(self, stream: Any, field: str) -> Any:
        """The last message's `field`; progress goes by."""
        result = None
        with self._tracked(stream), _Watch(stream, self._settings.silent_seconds) as watch:
            # To the very end: leaving a stream before it has closed cancels the call.
            for message in stream:
                watch.heard()
                if message.WhichOneof("update") == field:
                    result = getattr(message, field)
        if result is None:
            raise AtlasError(
                Reason.DEPENDENCY_UNAVAILABLE,
                f"The stream ended without {field}.",
                field=field,
                remedy="Try again; the service's log tells why.",
            )
        return result

    @contextmanager
    def _tracked(self, stream: _Cancellable) -> Iterator[None]:
        self._running.add(stream)
        try:
            if self._stopping.is_set():
                stream.cancel()
            yield
        except AtlasError:
            if self._stopping.is_set():
                raise Interrupted from None
            raise
        finally:
            self._running.discard(stream)
