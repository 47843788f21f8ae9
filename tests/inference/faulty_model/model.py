"""A model that fails in the one way that its configuration parameter `fault` names."""

import json
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils

from services.core import arrayfile
from services.core.geometry import Geometry


class TritonPythonModel:
    """Answers with zeros for every organ of its card, if it answers."""

    def initialize(self, args):
        """Read the parameters."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.fault = parameters["fault"]["string_value"]
        self.organs = parameters["organs"]["string_value"].split(",")
        if self.fault == "load":
            raise RuntimeError("no weights")

    def execute(self, requests):
        """One response per request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        ct = pb_utils.get_input_tensor_by_name(request, "ct").as_numpy()
        text = pb_utils.get_input_tensor_by_name(request, "geometry").as_numpy()[0].decode()
        geometry, organs, dtype = Geometry.from_json(text), self.organs, np.uint8
        match self.fault:
            case "raise":
                raise ValueError("this network dislikes this CT")
            case "die":
                os._exit(1)
            case "slow":
                time.sleep(3)
            case "hang":
                time.sleep(60)
            case "grid":
                geometry = Geometry(
                    geometry.shape, (*geometry.affine[:3], geometry.affine[3] + 1.5, *geometry.affine[4:])
                )
            case "organs":
                organs = organs[::-1]
            case "dtype":
                dtype = np.int16
        data = arrayfile.encode(organs, [np.zeros(ct.shape, dtype)] * len(organs), geometry)
        match self.fault:
            case "empty":
                data = b""
            case "garbage":
                data = b"garbage " * 100
            case "cut":
                data = data[: len(data) // 2]
        return pb_utils.InferenceResponse([pb_utils.Tensor("array", np.frombuffer(data, np.uint8))])
