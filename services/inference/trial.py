"""Loading one version of a model by itself, before Triton is asked to serve it beside others.

Triton ends with a segmentation fault, now and then, when it loads several versions at once and one of them fails: with
it go all models and all calls. A version that fails alone, under a name of its own, harms nothing.
"""

import time
from functools import partial
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2

from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.inference import tried_model

SUFFIX = ".trial"
"""Ends the name of the model that is tried; no model of a repository has one."""
_CODE = Path(tried_model.__file__)
_LEAVES_SECONDS = 60.0
_POLL_SECONDS = 0.05


def configuration(folder: Path, number: int) -> str:
    """The model's configuration as JSON, for version `number` under the trial's name.

    Raises MODEL_CARD_INVALID if config.pbtxt is not one.
    """
    try:
        text = (folder / modelversions.CONFIG_FILE).read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except (OSError, ValueError) as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"It is no configuration of Triton: {str(error)[:500]}",
            field=f"{folder.name}/{modelversions.CONFIG_FILE}",
            remedy="Import the model again.",
        ) from error
    config.name = f"{folder.name}{SUFFIX}"
    config.version_policy.specific.versions[:] = [number]
    config.parameters[tried_model.FOLDER].string_value = str(folder.resolve())
    config.parameters[tried_model.VERSION].string_value = str(number)
    return json_format.MessageToJson(config)


def tried(server: InferenceServerClient, folder: Path, number: int, *, seconds: float) -> None:
    """Let a server load version `number` of the model in `folder` by itself, and let go of it.

    Raises what the client raises if it does not load; `seconds` bounds the loading.
    """
    name = f"{folder.name}{SUFFIX}"
    files = {f"file:{number}/model.py": _CODE.read_bytes()}
    server.load_model(name, config=configuration(folder, number), files=files, client_timeout=seconds)
    server.unload_model(name, client_timeout=seconds)
    # Unloading goes on after the answer; the memory must be free before the version is loaded again.
    deadline = time.monotonic() + _LEAVES_SECONDS
    there = partial(server.is_model_ready, name, str(number), client_timeout=seconds)
    while there() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
