"""Loading one version of a model by itself, before Triton is asked to serve it beside others.

Triton ends with a segmentation fault, now and then, when it loads several versions at once and one of them fails: with
it go all models and all calls. A version that fails alone, under a name of its own, harms nothing.
"""

from contextlib import suppress
from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2
from tritonclient.utils import InferenceServerException

from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.inference import tried_model

_CODE = Path(tried_model.__file__)


def configuration(folder: Path, number: int) -> str:
    """The model's configuration as JSON, for version `number` under the trial's name.

    Raises MODEL_CARD_INVALID if config.pbtxt is not one.
    """
    try:
        text = (folder / modelversions.CONFIG_FILE).read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise AtlasError(
            Reason.MODEL_CARD_INVALID,
            f"It is no configuration of Triton: {str(error)[:500]}",
            field=f"{folder.name}/{modelversions.CONFIG_FILE}",
            remedy="Import the model again.",
        ) from error
    config.name = _name(folder)
    config.version_policy.specific.versions[:] = [number]
    config.parameters[tried_model.FOLDER].string_value = str(folder.resolve())
    config.parameters[tried_model.VERSION].string_value = str(number)
    return json_format.MessageToJson(config)


def tried(server: InferenceServerClient, folder: Path, number: int, *, seconds: float) -> None:
    """Let a server load version `number` of the model in `folder` by itself, and let go of it.

    Raises what the client raises if it does not load; `seconds` bounds the loading.
    """
    config = configuration(folder, number)
    files = {f"file:{number}/model.py": _CODE.read_bytes()}
    try:
        server.load_model(_name(folder), config=config, files=files, client_timeout=seconds)
    finally:
        with suppress(InferenceServerException):
            server.unload_model(_name(folder), client_timeout=seconds)


def _name(folder: Path) -> str:
    """A model that is loaded from what a call gives is in no list of Triton's, and so in none of ours."""
    return f"{folder.name}.trial"
