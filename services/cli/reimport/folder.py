"""The cases of a release that lies in a folder; what was done to it since is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.cli.ingest.discover import Case, Refusal, file_error
from services.cli.release.contents import FORMAT
from services.cli.release.present import CHECKSUMS, RECORD, foreign_files, listed, release_id
from services.core.errors import AtlasError, Reason

REMEDY = "Restore the release as it was written; `atlas validate` lists all that is wrong with it."


@dataclass(frozen=True)
class ReleasedCase(Case):
    """A case of a release of ours, with the digests of its files."""

    digests: tuple[tuple[Path, str], ...] = ()


def is_release(path: Path) -> bool:
    """Whether the folder is a release of ours, or a case of one."""
    return path.is_dir() and (release_id(path) or release_id(path.resolve().parent)) is not None


def released_cases(path: Path) -> Iterator[ReleasedCase | Refusal]:
    """The cases of a release, or the one case of it that `path` names, in their order.

    One with a file that is missing or was added is refused as a whole, and so is a folder that is no case. Whether a
    file is still the one that was released shows when it is read.
    """
    path = path.resolve()
    root = path if release_id(path) is not None else path.parent
    sums = listed(root)
    record = json.loads((root / RECORD).read_text())
    if record.get("format") != FORMAT or not sums:
        message = f"It has no {CHECKSUMS}." if not sums else "Another version of the product wrote it."
        yield Refusal(root, AtlasError(Reason.FIELD_INVALID, message, remedy=REMEDY))
        return
    foreign = foreign_files(root)
    folders = sorted({name.split("/")[0] for name in (*sums, *foreign) if "/" in name})
    chosen = folders if root == path else [folder for folder in folders if folder == path.name]
    if not chosen:
        yield Refusal(path, AtlasError(Reason.FIELD_INVALID, "The release has no case here.", remedy=REMEDY))
    for folder in chosen:
        yield from _case(root, folder, sums, [name for name in foreign if name.startswith(f"{folder}/")])


def _case(root: Path, folder: str, sums: dict[str, str], foreign: list[str]) -> Iterator[ReleasedCase | Refusal]:
    files = {root / name: digest for name, digest in sums.items() if name.startswith(f"{folder}/")}
    refused = [Refusal(path, error) for path in files if (error := file_error(path, root.resolve()))]
    added = AtlasError(Reason.FIELD_INVALID, "This file was added to the release.", remedy=REMEDY)
    refused += [Refusal(root / name, added) for name in foreign]
    if not refused:
        yield ReleasedCase(folder, root / folder / "ct.nii.gz", digests=tuple(files.items()))
    yield from refused
