"""Which versions of a model Triton serves: the `version_policy` of its config.pbtxt."""

import json
import re
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from services.core.errors import AtlasError, Reason
from services.core.folderlock import locked

CONFIG_FILE = "config.pbtxt"
COMPARISON_FILE = "comparison.json"
_POLICY = re.compile(r"version_policy\s*:?\s*\{\s*(?:(\w+)\s*:?\s*\{([^{}]*)\}\s*)?\}\n?")


def numbers(folder: Path) -> list[int]:
    """The versions of the model in a folder of Triton's repository, in rising order."""
    return sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())


def served(config: str) -> tuple[int, ...]:
    """The versions that the policy names, in rising order; () if it names none, as `latest` and `all` do not."""
    kind, said = _policy(config)
    return tuple(sorted(said)) if kind == "specific" else ()


def with_served(config: str, versions: Iterable[int]) -> str:
    """The configuration with exactly these versions served."""
    named = ", ".join(map(str, sorted(versions)))
    return f"{_POLICY.sub('', config).rstrip()}\nversion_policy {{ specific {{ versions: [ {named} ] }} }}\n"


def served_in(folder: Path) -> tuple[int, ...]:
    """The versions of the model in `folder` that Triton serves, in rising order; the last is who names none gets."""
    config = (folder / CONFIG_FILE).read_text()
    kind, said = _policy(config)
    there = numbers(folder)
    latest = len(there) if kind == "all" else max([1, *said]) if kind == "latest" else 1
    return served(config) or tuple(there[-latest:])


def newest(folder: Path) -> int:
    """The version of the model in `folder` that who names none gets. Raises MODEL_NOT_FOUND if there is none."""
    try:
        return served_in(folder)[-1]
    except (OSError, IndexError):
        raise AtlasError(
            Reason.MODEL_NOT_FOUND,
            "There is no version of this model in Triton's repository.",
            field=folder.name,
            remedy="`atlas models list` tells which models there are.",
        ) from None


def write_config(folder: Path, config: str) -> None:
    """Replace the model's configuration at once. Who read what it writes has had the folder `locked` since."""
    part = folder / f".{CONFIG_FILE}.{uuid.uuid4().hex}"
    try:
        part.write_text(config)
        part.replace(folder / CONFIG_FILE)
    finally:
        part.unlink(missing_ok=True)


def update_config(folder: Path, change: Callable[[str], str]) -> None:
    """Replace the model's configuration by what `change` makes of it; nobody else changes it meanwhile."""
    with locked(folder):
        write_config(folder, change((folder / CONFIG_FILE).read_text()))


def require_better(folder: Path, number: int, newest: int) -> None:
    """Raise MODEL_VERSION_REFUSED unless the version's comparison with the newest one lets it be served."""
    try:
        comparison: dict[str, Any] = json.loads((folder / str(number) / COMPARISON_FILE).read_text())
        promoted, with_version, reasons = comparison["promoted"], comparison["served"], comparison["reasons"]
    except (OSError, ValueError, KeyError, TypeError):
        remedy = "Train or tune it with this product's commands, which compare it."
        raise refused(folder.name, number, "It was never compared with the version that is served.", remedy) from None
    if with_version != newest:
        why = f"It was compared with version {with_version}, and version {newest} is served."
        raise refused(folder.name, number, why, "Train or tune again: it is compared with the version that is served.")
    if promoted is not True:
        raise refused(folder.name, number, " ".join(map(str, reasons)), "Tune with more cases; the version is kept.")


def refused(model: str, number: int, why: str, remedy: str) -> AtlasError:
    """The error of a version that may not be served."""
    name = f"models/{model}/versions/{number}"
    return AtlasError(Reason.MODEL_VERSION_REFUSED, why, field=name, remedy=remedy)


def _policy(config: str) -> tuple[str, list[int]]:
    """Its kind, and the numbers in it; "" if there is none."""
    found = _POLICY.search(config)
    return (found[1] or "", [int(number) for number in re.findall(r"\d+", found[2] or "")]) if found else ("", [])
