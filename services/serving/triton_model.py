"""The model that Triton's Python backend runs: every `models/<name>/1/model.py` imports it.

Triton's Python needs the project's root on PYTHONPATH and NumPy below 2, or it answers with zero bytes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found] # only there inside Triton
from numpy.typing import NDArray

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.serving import gpu, runtime
from services.serving.card import Card, load_version
from services.serving.networks import load_network
from services.serving.prediction import predict
from services.serving.sliding import CPU

_SPACING_TOLERANCE_MM = 1e-3


class TritonPythonModel:
    """Takes `ct` INT16 (z, y, x) HU on the network grid and `geometry` JSON; answers `array`: an array file's bytes."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load card and weights; a card or weights at fault keep the model from becoming ready."""
        parameters = json.loads(args["model_config"])["parameters"]
        folder = Path(args["model_repository"])
        number = args["model_version"]
        self._card = load_version(folder, int(number), args["model_name"])
        _require_same_weights(parameters, number, self._card)
        network = load_network(folder, self._card)
        if args["model_instance_kind"] == "GPU" and torch.cuda.is_available():
            self._device, self._batch = torch.device("cuda", int(args["model_instance_device_id"])), gpu.BATCH
            self._run = gpu.on_gpu(network, self._device, self._card)
        else:
            threads = int(parameters["cpu_threads"]["string_value"])
            self._device, self._batch = CPU, 1
            self._run = runtime.on_cpu(network, self._card, threads)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request, or say what is wrong with it."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            ct = pb_utils.get_input_tensor_by_name(request, "ct").as_numpy()
            text = pb_utils.get_input_tensor_by_name(request, "geometry").as_numpy().reshape(-1)[0]
            geometry = checked_geometry(ct, text, self._card)
            data = predict(self._run, ct, geometry, self._card, batch=self._batch, device=self._device)
        except AtlasError as error:
            refusal = pb_utils.TritonError(f"{error.reason}: {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        except (MemoryError, torch.OutOfMemoryError):
            refusal = pb_utils.TritonError(
                "VOLUME_TOO_LARGE: The volume does not fit into memory.", pb_utils.TritonError.UNAVAILABLE
            )
            return pb_utils.InferenceResponse(error=refusal)
        return pb_utils.InferenceResponse([pb_utils.Tensor("array", np.frombuffer(data, np.uint8))])


def _require_same_weights(parameters: dict[str, dict[str, str]], number: str, card: Card) -> None:
    """Raise MODEL_CARD_INVALID if callers were told of other weights than the card's: predictions would be filed under
    them."""
    told = parameters.get(f"{number}/weights_sha256") or parameters.get("weights_sha256")
    if told and (card.weights is None or told["string_value"] != card.weights.sha256):
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"config.pbtxt names other weights than the card of version {number}.",
            field=f"{card.name}/config.pbtxt",
            remedy="Write it anew: python -m services.serving.repository.",
        )


def checked_geometry(ct: NDArray[np.generic], text: bytes | str, card: Card) -> Geometry:
    """The geometry that belongs to `ct`. Raises FIELD_INVALID, GEOMETRY_MISMATCH or GRID_MISMATCH."""
    geometry = Geometry.from_json(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    if ct.dtype != np.int16 or ct.ndim != 3:
        raise AtlasError(Reason.FIELD_INVALID, f"int16 (z, y, x) is expected, not {ct.dtype} {ct.shape}.", field="ct")
    if ct.shape != geometry.array_shape:
        raise AtlasError(
            Reason.GEOMETRY_MISMATCH,
            f"The CT has shape {ct.shape}, its geometry {geometry.array_shape}.",
            field="geometry",
        )
    expected = np.eye(3) * card.grid_spacing_mm
    if np.abs(geometry.matrix[:3, :3] - expected).max() > _SPACING_TOLERANCE_MM:
        raise AtlasError(
            Reason.GRID_MISMATCH,
            f"{card.name} takes axis-aligned RAS of {card.grid_spacing_mm} mm, this is {geometry}.",
            field="geometry",
            remedy="Resample the CT to the network grid first.",
        )
    return geometry
