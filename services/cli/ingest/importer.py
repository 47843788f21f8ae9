"""Sends cases to storage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.ingest.discover import Case, Refusal, unreadable
from services.core.errors import AtlasError, Reason
from services.core.storage import OnProgress, Storage

_ENDS_THE_IMPORT = {Reason.DEPENDENCY_UNAVAILABLE, Reason.SHUTTING_DOWN}

T = TypeVar("T")
Watch = Callable[[Path], OnProgress]
"""Told of every file before it is sent; returns what to call with the bytes that moved."""


@dataclass(frozen=True)
class Source:
    """Where the cases of one import come from."""

    dataset: str = ""
    licence: str = ""
    class_map: str = "abdomenatlas-1.0"
    looked_for: tuple[str, ...] = ()
    """Organs that the source of a label map looked for; empty means those that occur in it."""


@dataclass(frozen=True)
class Imported:
    """What became of one case."""

    case: Case
    volume: pb.Volume | None = None
    labels: pb.LabelVersion | None = None
    refusals: list[Refusal] = field(default_factory=list)


def import_case(storage: Storage, case: Case, source: Source, watch: Watch) -> Imported:
    """Upload one case. What is refused is told in the result; the rest of the case goes in.

    Raises DEPENDENCY_UNAVAILABLE if storage is gone, because then nothing else would go in either.
    """
    refusals = list(case.refused)
    volume = _attempt(case.ct, refusals, lambda: _create_volume(storage, case, source, watch))
    if volume is None:
        return Imported(case, refusals=refusals)
    files: list[tuple[Path, pb.LabelFile]] = []
    labels = [(case.label_map, "")] if case.label_map else [(path, organ) for organ, path in case.masks.items()]
    for path, organ in labels:
        name = _put(storage, path, watch, refusals)
        if name:
            files.append((path, pb.LabelFile(object=name, organ=organ, display_name=display_name(path))))
    return Imported(case, volume, _import_labels(storage, volume, files, source, refusals), refusals)


def display_name(path: Path) -> str:
    """How messages name a file: its last three parts."""
    return "/".join(path.parts[-3:])[-255:].encode("utf-8", "replace").decode()


def _create_volume(storage: Storage, case: Case, source: Source, watch: Watch) -> pb.Volume:
    ref = storage.put_file(_readable(case.ct), watch(case.ct))
    request = pb.CreateVolumeRequest(
        volume_id=case.volume_id,
        object=ref.name,
        dataset=source.dataset,
        source_id=case.volume_id if source.dataset else "",
        licence=source.licence,
    )
    return storage.rpc.CreateVolume(request, timeout=600).volume


def _put(storage: Storage, path: Path, watch: Watch, refusals: list[Refusal]) -> str | None:
    return _attempt(path, refusals, lambda: storage.put_file(_readable(path), watch(path)).name)


def _import_labels(
    storage: Storage,
    volume: pb.Volume,
    files: Sequence[tuple[Path, pb.LabelFile]],
    source: Source,
    refusals: list[Refusal],
) -> pb.LabelVersion | None:
    """One label version of all files that storage takes. A refused file is left out and the rest is tried again."""
    left = list(files)
    while left:
        request = pb.ImportLabelVersionRequest(
            parent=volume.name,
            files=[file for _, file in left],
            class_map=source.class_map,
            looked_for=source.looked_for,
            origin=pb.ORIGIN_SOURCE,
            author=source.dataset or "source",
        )
        try:
            return storage.rpc.ImportLabelVersion(request, timeout=600).label_version
        except AtlasError as error:
            if error.reason in _ENDS_THE_IMPORT:
                raise
            guilty = [entry for entry in left if entry[1].display_name in error.field] or left
            refusals.extend(Refusal(path, error) for path, _ in guilty)
            left = [entry for entry in left if entry not in guilty]
    return None


def _attempt(path: Path, refusals: list[Refusal], action: Callable[[], T]) -> T | None:
    try:
        return action()
    except AtlasError as error:
        if error.reason in _ENDS_THE_IMPORT:
            raise
        refusals.append(Refusal(path, error))
    except OSError as error:
        refusals.append(Refusal(path, unreadable(error)))
    return None


def _readable(path: Path) -> Path:
    if path.stat().st_size == 0:
        raise AtlasError(Reason.FILE_TRUNCATED, "This file is empty.", remedy="Fetch it again.")
    return path
