"""Which versions of a model Triton serves: the `version_policy` of its config.pbtxt."""

import re
from collections.abc import Iterable
from pathlib import Path

from services.core.errors import AtlasError, Reason

CONFIG_FILE = "config.pbtxt"
_POLICY = re.compile(r"version_policy\s*:?\s*\{\s*specific\s*:?\s*\{\s*versions\s*:\s*\[([\d,\s]*)\]\s*\}\s*\}\n?")


def numbers(folder: Path) -> list[int]:
    """The versions of the model in a folder of Triton's repository, in rising order."""
    return sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())


def served(config: str) -> tuple[int, ...]:
    """The versions that the policy names, in rising order; () if there is none, which is to say the newest folder."""
    found = _POLICY.search(config)
    return tuple(sorted(int(number) for number in found[1].split(",") if number.strip())) if found else ()


def with_served(config: str, versions: Iterable[int]) -> str:
    """The configuration with exactly these versions served."""
    named = ", ".join(map(str, sorted(versions)))
    return f"{_POLICY.sub('', config).rstrip()}\nversion_policy {{ specific {{ versions: [ {named} ] }} }}\n"


def served_in(folder: Path) -> tuple[int, ...]:
    """The versions of the model in `folder` that Triton serves, in rising order; the last is who names none gets."""
    return served((folder / CONFIG_FILE).read_text()) or tuple(numbers(folder)[-1:])


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
    """Replace the model's configuration at once."""
    part = folder / f".{CONFIG_FILE}.part"
    part.write_text(config)
    part.replace(folder / CONFIG_FILE)
