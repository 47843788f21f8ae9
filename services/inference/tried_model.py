"""What Triton runs while a version of a model is tried (`trial`): the version's own code, under another name."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

FOLDER, VERSION = "tried_folder", "tried_version"


class TritonPythonModel:
    """Initializes the version that the configuration's parameters name, and answers nothing."""

    def initialize(self, args: dict[str, str]) -> None:
        """Do what the version does when it is loaded; what it raises keeps the trial from loading."""
        parameters = json.loads(args["model_config"])["parameters"]
        folder, version = Path(parameters[FOLDER]["string_value"]), parameters[VERSION]["string_value"]
        code = folder / version / "model.py"
        if not code.is_file():
            print(f"{code} is not seen here: version {version} is not tried before it is served.", file=sys.stderr)
            return
        sys.path.insert(0, str(code.parent))
        spec = importlib.util.spec_from_file_location("tried", code)
        if spec is None or spec.loader is None:
            raise ImportError(f"{code} is no Python.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # Dataclasses look their module up.
        spec.loader.exec_module(module)
        self._model = module.TritonPythonModel()
        if hasattr(self._model, "initialize"):
            own = {"model_repository": str(folder), "model_version": version, "model_name": folder.name}
            self._model.initialize(args | own)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Triton asks for it; nobody calls a trial."""
        raise RuntimeError("This version is only tried.")
