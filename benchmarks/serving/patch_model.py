"""The baseline that moves patches: a Triton model that answers one window with its logits as float32."""

import json
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found] # only there inside Triton

from services.serving.card import load_card
from services.serving.networks import load_network
from services.serving.runtime import on_cpu


class TritonPythonModel:
    """Takes `window` FP32 (1, 1, z, y, x) in [0, 1]; answers `logits` FP32 (1, organ, z, y, x)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the same network with the same runtime."""
        parameters = json.loads(args["model_config"])["parameters"]
        folder = Path(parameters["folder"]["string_value"])
        card = load_card(folder)
        self._run = on_cpu(load_network(folder, card), card, int(parameters["cpu_threads"]["string_value"]))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request."""
        return [self._answer(request) for request in requests]

    @torch.inference_mode()
    def _answer(self, request: Any) -> Any:
        window = torch.from_numpy(pb_utils.get_input_tensor_by_name(request, "window").as_numpy())
        return pb_utils.InferenceResponse([pb_utils.Tensor("logits", self._run(window).numpy())])
