"""The dataset.json of the Decathlon and of nnU-Net: whether it means the dataset that it is imported as."""

import json
import re
from pathlib import Path
from typing import Any

from services.core.datasets import Dataset
from services.core.errors import AtlasError, Reason

_MAX_BYTES = 64 * 2**20


def require_agreement(root: Path, dataset: Dataset) -> None:
    """Raise CLASS_MAP_MISMATCH if the folder's dataset.json gives a label id another meaning than `dataset` does.

    Names are compared in lower case; one that `dataset` does not know at all contradicts nothing, for the same organ
    has many names ("arota" among them).
    """
    path = root / "dataset.json"
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return
    try:
        labels = _labels(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            "This dataset.json cannot be read.",
            field=str(path),
            remedy="Fetch it again, or remove it.",
        ) from error
    meanings = {
        _plain(name): s.label for s in dataset.structures for name in (s.name, s.target) if name and not s.is_part
    }
    for label, name in sorted(labels.items()):
        if label not in dataset.by_label:
            raise _mismatch(path, f"it has label {label} ({name[:64]}), which {dataset.name} does not know")
        meant = meanings.get(_plain(name), label)
        if meant != label:
            raise _mismatch(path, f"{name[:64]} is label {label} in it, and label {meant} in {dataset.name}")


def _labels(data: dict[str, Any]) -> dict[int, str]:
    """Names by label id, background left out. The Decathlon writes {"1": "liver"}, nnU-Net {"liver": 1}."""
    found: dict[int, str] = {}
    for key, value in data.get("labels", {}).items():
        if isinstance(value, list):  # regions of nnU-Net, which are unions of labels
            continue
        label, name = (int(key), str(value)) if str(key).isdigit() else (int(value), str(key))
        if label:
            found[label] = name
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def _mismatch(path: Path, why: str) -> AtlasError:
    return AtlasError(
        Reason.CLASS_MAP_MISMATCH,
        f"The folder is not what it is imported as: {why}.",
        field=str(path),
        remedy="Name the dataset that it is; `atlas datasets` lists them.",
    )
