"""Model repositories made for a test."""

import shutil
from pathlib import Path

from tests.components.triton import MODELS

FAULTY = Path(__file__).parent / "faulty_model" / "model.py"
FAULTS = ("empty", "garbage", "cut", "grid", "organs", "dtype", "raise", "die", "slow", "hang")


def add_model(repository: Path, name: str, *, fault: str = "", **parameters: str | None) -> None:
    """Add a copy of the model `threshold` with other parameters (None removes one), or a faulty one of that card."""
    folder = repository / name
    shutil.copytree(MODELS / "threshold", folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = (folder / "config.pbtxt").read_text().replace('name: "threshold"', f'name: "{name}"')
    if fault:
        shutil.copy(FAULTY, folder / "1" / "model.py")
        parameters["fault"] = fault
    lines = [line for line in config.splitlines() if not any(f'key: "{key}"' in line for key in parameters)]
    lines += [
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
        if value is not None
    ]
    (folder / "config.pbtxt").write_text("\n".join(lines) + "\n")
