"""The dataset.json of the Decathlon and of nnU-Net: what it tells, and whether it means the dataset imported."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.core.datasets import Dataset
from services.core.errors import AtlasError, Reason

_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Told:
    """What a dataset.json tells: names by label id, background left out; what the channels of an image are; and files.

    `listed` holds the path of each image without its suffix, below the folder, and that of its label, or "".
    """

    path: Path
    labels: dict[int, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    listed: dict[str, str] = field(default_factory=dict)


def read(root: Path) -> Told:
    """What the folder's dataset.json tells; nothing if there is none. Raises CLASS_MAP_MISMATCH if it is unreadable."""
    path = root / "dataset.json"
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return Told(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        channels = data.get("channel_names", data.get("modality", {}))
        return Told(path, _labels(data), tuple(str(name)[:64] for name in channels.values()), dict(_listed(data)))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            "This dataset.json cannot be read.",
            field=str(path),
            remedy="Fetch it again, or remove it.",
        ) from error


def require_agreement(told: Told, dataset: Dataset) -> None:
    """Raise CLASS_MAP_MISMATCH if the images are no CTs, or a label id has another meaning than in `dataset`.

    Names are compared in lower case; one that `dataset` does not know at all contradicts nothing, for the same organ
    has many names ("arota" among them).
    """
    if told.channels and [_plain(name) for name in told.channels] != ["ct"]:
        raise _mismatch(told.path, f"its images are {', '.join(told.channels)}, and not CT alone")
    meanings = {
        _plain(name): s.label for s in dataset.structures for name in (s.name, s.target) if name and not s.is_part
    }
    for label, name in sorted(told.labels.items()):
        if label not in dataset.by_label:
            raise _mismatch(told.path, f"it has label {label} ({name[:64]}), which {dataset.name} does not know")
        meant = meanings.get(_plain(name), label)
        if meant != label:
            raise _mismatch(told.path, f"{name[:64]} is label {label} in it, and label {meant} in {dataset.name}")


def _listed(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Images and their labels. The Decathlon tells both in `training`, and images alone in `test`."""
    for part in ("training", "validation", "test"):
        entries = data.get(part, [])
        if not isinstance(entries, list):
            raise TypeError(part)
        for entry in entries:
            image, label = (entry, "") if isinstance(entry, str) else (entry["image"], entry.get("label", ""))
            yield _below(image), _below(label)


def _below(path: str) -> str:
    """A path of the list, below the folder, without suffix."""
    return re.sub(r"\.nii(\.gz)?$", "", path.removeprefix("./").lstrip("/"))


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
