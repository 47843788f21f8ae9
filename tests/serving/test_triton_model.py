"""The class that Triton runs, with Triton's own module replaced by the few names it uses."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.core import arrayfile
from services.core.errors import AtlasError
from services.core.geometry import Geometry


@dataclass
class FakeTensor:
    name: str
    array: NDArray[Any]

    def as_numpy(self) -> NDArray[Any]:
        return self.array


class FakeError(Exception):
    INVALID_ARG = 3
    UNAVAILABLE = 14

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class FakeResponse:
    output_tensors: list[FakeTensor] = field(default_factory=list)
    error: FakeError | None = None


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`services.serving.triton_model` as Triton's stub process would import it."""
    module = ModuleType("triton_python_backend_utils")
    vars(module).update(
        Tensor=FakeTensor,
        TritonError=FakeError,
        InferenceResponse=FakeResponse,
        get_input_tensor_by_name=lambda request, name: request[name],
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    monkeypatch.delitem(sys.modules, "services.serving.triton_model", raising=False)
    import services.serving.triton_model as triton_model

    yield triton_model
    sys.modules.pop("services.serving.triton_model", None)


def started(backend: Any, folder: Path, **changes: str) -> Any:
    config = {"parameters": {"cpu_threads": {"string_value": "1"}}}
    model = backend.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(folder),
            "model_name": "small",
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            **changes,
        }
    )
    return model


def request(ct: NDArray[Any], geometry: Geometry | str) -> dict[str, FakeTensor]:
    text = geometry if isinstance(geometry, str) else geometry.to_json()
    return {"ct": FakeTensor("ct", ct), "geometry": FakeTensor("geometry", np.array([text.encode()], object))}


GRID = Geometry.from_matrix((20, 18, 17), np.diag([1.5, 1.5, 1.5, 1.0]))
CT = np.zeros(GRID.array_shape, np.int16)


def test_a_volume_comes_back_as_an_array_file(backend: Any, model_folder: Path) -> None:
    (response,) = started(backend, model_folder).execute([request(CT, GRID)])
    assert response.error is None
    (tensor,) = response.output_tensors
    assert (tensor.name, tensor.array.dtype, tensor.array.ndim) == ("array", np.uint8, 1)
    assert arrayfile.decode(tensor.array.tobytes()).geometry == GRID


@pytest.mark.parametrize(
    ("ct", "geometry", "reason"),
    [
        (CT[1:], GRID, "GEOMETRY_MISMATCH"),
        (CT[0], GRID, "FIELD_INVALID"),
        (CT, "{}", "FIELD_INVALID"),
        (CT, Geometry.from_matrix(GRID.shape, np.diag([1.5, 1.5, 3.0, 1.0])), "GRID_MISMATCH"),
        (CT, Geometry.from_matrix(GRID.shape, np.diag([-1.5, -1.5, 1.5, 1.0])), "GRID_MISMATCH"),
    ],
)
def test_a_wrong_question_is_refused_and_the_next_one_answered(
    backend: Any, model_folder: Path, ct: NDArray[Any], geometry: Geometry | str, reason: str
) -> None:
    wrong, right = started(backend, model_folder).execute([request(ct, geometry), request(CT, GRID)])
    assert str(wrong.error).startswith(f"{reason}: ")
    assert wrong.error.code == FakeError.INVALID_ARG
    assert right.error is None


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_volume_that_does_not_fit_is_refused_and_the_next_one_answered(
    backend: Any, model_folder: Path, error: Exception
) -> None:
    model = started(backend, model_folder)
    compute, asked = model._run, []

    def full_once(windows: torch.Tensor) -> torch.Tensor:
        asked.append(len(windows))
        if len(asked) == 1:
            raise error
        return compute(windows)  # type: ignore[no-any-return]

    model._run = full_once
    body = np.full_like(CT, 100)
    refused, answered = model.execute([request(body, GRID), request(body, GRID)])
    assert str(refused.error).startswith("VOLUME_TOO_LARGE: ")
    assert refused.error.code == FakeError.UNAVAILABLE
    assert answered.error is None


def test_an_answer_that_is_no_number_is_refused(backend: Any, model_folder: Path) -> None:
    """It would be stored as "absent"."""
    model = started(backend, model_folder)
    model._run = lambda windows: torch.full((len(windows), 9, *windows.shape[2:]), torch.nan)
    (response,) = model.execute([request(np.full_like(CT, 100), GRID)])
    assert str(response.error).startswith("MODEL_ANSWER_INVALID: ")


def test_other_weights_keep_the_model_from_starting(backend: Any, model_folder: Path) -> None:
    path = model_folder / "1" / "weights.pt"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(AtlasError, match="The weights hash to"):
        started(backend, model_folder)
