"""What the service asks of NVIDIA Triton (KServe v2 over gRPC)."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
import structlog
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.rpc.client import DIRECT
from services.core.rpc.credentials import Credentials, Renewed
from services.inference.model import Card, Model, card, of_version
from services.inference.servers import servers
from services.inference.trial import tried

ASK_SECONDS = 10.0
"""Deadline of everything but inference."""
LOAD_SECONDS = 300.0
"""Deadline of loading a model again."""
STUB_DIED = "Stub process"
"""How Triton's message begins when the process that runs a model's Python is gone."""
MAX_MESSAGE_BYTES = 2**31 - 1
"""What gRPC can carry; the volume and a small header must fit."""

Result = TypeVar("Result")
log = structlog.get_logger()

_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # The default lets two minutes pass before a restarted Triton is found again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The default sends everything to the first of several servers.
    ("grpc.lb_policy_name", "round_robin"),
    DIRECT,
]


class Triton:
    """The models of one Triton, or of several alike behind one address, which take turns. Thread-safe.

    With `credentials`, Triton is spoken to over (mutual) TLS.
    """

    def __init__(self, address: str, credentials: Credentials | None = None) -> None:
        def client(tls: grpc.ChannelCredentials | None) -> triton.InferenceServerClient:
            return triton.InferenceServerClient(address, creds=tls, channel_args=_OPTIONS)

        self._address, self._credentials = address, credentials
        if credentials:
            self._clients = Renewed(credentials, client).now
        else:
            plain = client(None)
            self._clients = lambda: plain

    @property
    def _client(self) -> triton.InferenceServerClient:
        return self._clients()

    def models(self) -> list[Model]:
        """All models of the repository of which Triton has a version, by name; those that do not answer say why."""
        index = _index(self._client)
        return sorted((self._describe(entry, index) for entry in index if entry.version), key=lambda model: model.name)

    def model(self, name: str, version: str) -> Model:
        """One model, with version "" the newest that is ready.

        Raises MODEL_NOT_FOUND if it is not in the repository, and MODEL_NOT_READY if it never loaded.
        """
        index = _index(self._client)
        entries = [entry for entry in index if entry.name == name]
        wanted = version or _newest(index, name)
        for entry in entries:
            if entry.version and entry.version == wanted:
                return self._describe(entry, index)
        if any(not entry.version or not version for entry in entries):
            raise _not_ready(f"Triton has not loaded the model {name}.")
        raise _not_found(name, version)

    def card(self, name: str, version: str) -> Card:
        """What a model that is ready says about itself. Raises MODEL_CARD_INVALID or MODEL_NOT_FOUND."""
        config = _asking(lambda: self._client.get_model_config(name, version, client_timeout=ASK_SECONDS)).config
        parameters = {key: value.string_value for key, value in config.parameters.items()}
        return card(of_version(parameters, version), name)

    def infer(self, model: Model, ct: npt.NDArray[np.int16], geometry: Geometry, *, seconds: float) -> bytes:
        """The model's answer to a CT (HU, (z, y, x) on `geometry`): bytes that should be an array file, unchecked.

        Raises DEADLINE_EXCEEDED, DEPENDENCY_UNAVAILABLE, MODEL_NOT_READY, MODEL_NOT_FOUND or, if the model itself
        failed, MODEL_ANSWER_INVALID.
        """
        voxels = triton.InferInput("ct", list(ct.shape), "INT16")
        voxels.set_data_from_numpy(ct)
        where = triton.InferInput("geometry", [1], "BYTES")
        where.set_data_from_numpy(np.array([geometry.to_json().encode()], np.object_))
        wanted = [triton.InferRequestedOutput("array")]
        try:
            answer = _asking(
                lambda: self._client.infer(
                    model.model, [voxels, where], model_version=model.version, outputs=wanted, client_timeout=seconds
                )
            )
        except AtlasError as error:
            if STUB_DIED in error.message:
                self._load_again(model.model)
            raise
        # as_numpy trusts the declared shape; under NumPy 2 in the server there are no bytes behind it.
        contents = answer.get_response().raw_output_contents
        return bytes(contents[0]) if contents else b""

    def serves(self, name: str, versions: Collection[int]) -> bool:
        """Whether every server has exactly these versions of a model ready. Raises as `infer` does."""
        wanted = {str(number) for number in versions}
        indices = (_index(server) for server in self._each())
        return all(_ready(index, name) == wanted for index in indices)

    def load(self, name: str) -> None:
        """Let every server load a model as it lies in the repository; versions that are served stay so meanwhile.

        Raises as `infer` does, at the first server that refuses.
        """
        for server in self._each():
            _asking(partial(server.load_model, name, client_timeout=LOAD_SECONDS))

    def try_version(self, folder: Path, number: int) -> None:
        """Let every server load one version of the model in `folder` by itself, and let go of it (`trial`).

        Raises as `infer` does, at the first server that refuses.
        """
        for server in self._each():
            _asking(partial(tried, server, folder, number, seconds=LOAD_SECONDS))

    def _each(self) -> Iterator[triton.InferenceServerClient]:
        tls = grpc.ssl_channel_credentials(*self._credentials.read()) if self._credentials else None
        for target, options in servers(self._address):
            with triton.InferenceServerClient(target, creds=tls, channel_args=[*_OPTIONS, *options]) as server:
                yield server

    def _load_again(self, name: str) -> None:
        """Start a model's process again: Triton itself leaves one that died, perhaps for lack of memory, dead."""
        log.warning("model process died", model=name)
        try:
            self.load(name)
        except AtlasError as error:
            log.error("model could not be loaded again", model=name, message=error.message)

    def _describe(self, entry: Any, index: list[Any]) -> Model:
        if entry.state != "READY":
            state = f"{entry.state or 'UNAVAILABLE'}, {entry.reason or 'not loaded'}"
            fault = _not_ready(f"Triton says of {entry.name} version {entry.version}: {state[:500]}.")
            return Model(entry.name, entry.version, fault=fault)
        try:
            superseded = entry.version != _newest(index, entry.name)
            return Model(entry.name, entry.version, self.card(entry.name, entry.version), superseded=superseded)
        except AtlasError as error:
            if error.reason not in (Reason.MODEL_CARD_INVALID, Reason.MODEL_NOT_FOUND, Reason.MODEL_NOT_READY):
                raise
            return Model(entry.name, entry.version, fault=error)


def _index(server: triton.InferenceServerClient) -> list[Any]:
    return list(_asking(partial(server.get_model_repository_index, client_timeout=ASK_SECONDS)).models)


def _ready(index: list[Any], name: str) -> set[str]:
    """The versions of a model that are ready."""
    return {entry.version for entry in index if entry.name == name and entry.version and entry.state == "READY"}


def _newest(index: list[Any], name: str) -> str:
    """The newest version of a model that is ready, "" if none is."""
    return max(_ready(index, name), key=int, default="")


def _asking(call: Callable[[], Result]) -> Result:
    try:
        return call()
    except InferenceServerException as error:
        _refuse(str(error.status()), str(error.message() or ""), error)


def _refuse(status: str, message: str, cause: InferenceServerException) -> NoReturn:
    text = message[:500]
    if status == "StatusCode.DEADLINE_EXCEEDED":
        raise AtlasError(
            Reason.DEADLINE_EXCEEDED,
            "Triton did not answer in time.",
            field="triton",
            remedy="Ask again, give it more time or more GPUs, or take a smaller volume.",
        ) from cause
    if message.startswith(Reason.VOLUME_TOO_LARGE):
        raise AtlasError(
            Reason.VOLUME_TOO_LARGE,
            "The volume does not fit into the memory that the model has.",
            field="volume",
            remedy="Serve the model on a larger machine or GPU, or crop the volume.",
        ) from cause
    if STUB_DIED in message or "is not ready" in message:
        raise _not_ready(f"The model is not ready: {text}") from cause
    if status in ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"):
        raise AtlasError(
            Reason.DEPENDENCY_UNAVAILABLE, f"Triton does not answer: {text}", field="triton", remedy="Is it running?"
        ) from cause
    if status == "StatusCode.NOT_FOUND" or "unknown model" in message:
        raise AtlasError(
            Reason.MODEL_NOT_FOUND,
            f"Triton does not serve it: {text}",
            field="model",
            remedy="Add it to Triton's repository, or name one that it serves: list the models to see which.",
        ) from cause
    raise AtlasError(
        Reason.MODEL_ANSWER_INVALID,
        f"The model failed: {text}",
        field="model",
        remedy="Read Triton's log, mend the model and load it again.",
    ) from cause


def _not_ready(message: str) -> AtlasError:
    return AtlasError(Reason.MODEL_NOT_READY, message, field="model", remedy="Wait until it is loaded, then ask again.")


def _not_found(name: str, version: str) -> AtlasError:
    return AtlasError(
        Reason.MODEL_NOT_FOUND,
        f"Triton has no {f'version {version} of a ' if version else ''}model {name}.",
        field="model",
        remedy="List the models to see which there are.",
    )
