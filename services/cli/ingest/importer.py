"""Sends cases to storage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.ingest.discover import Case, Refusal, unreadable
from services.core.errors import AtlasError, Reason
from services.core.storage import OnProgress, Storage

ENDS_THE_IMPORT = {Reason.DEPENDENCY_UNAVAILABLE, Reason.SHUTTING_DOWN, Reason.TOO_MANY_UPLOADS}
"""After these nothing else would go in either."""

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
    duplicates: Sequence[pb.Duplicate] = ()
    """Other volumes that show the same scan."""


def import_case(storage: Storage, case: Case, source: Source, watch: Watch) -> Imported:
    """Upload one case. What is refused is told in the result; the rest of the case goes in, unless it is of a dataset
    that we know: then it goes in as a whole or not at all.

    Raises DEPENDENCY_UNAVAILABLE if storage is gone, because then nothing else would go in either.
    """
    refusals = list(case.refused)
    if case.dataset_map:
        return _import_whole(storage, case, source, watch, refusals)
    created = _attempt(case.ct, refusals, lambda: _create_volume(storage, case, source, watch))
    if created is None:
        return Imported(case, refusals=refusals)
    volume = created.volume
    files: list[tuple[Path, pb.LabelFile]] = []
    labels = [(case.label_map, "")] if case.label_map else [(path, organ) for organ, path in case.masks.items()]
    for path, organ in labels:
        name = _put(storage, path, watch, refusals)
        if name:
            files.append((path, pb.LabelFile(object=name, organ=organ, display_name=display_name(path))))
    labelled = _import_labels(storage, volume, files, source, refusals)
    return Imported(case, volume, labelled, refusals, created.duplicates)


def display_name(path: Path) -> str:
    """How messages name a file: its last three parts."""
    return "/".join(path.parts[-3:])[-255:].encode("utf-8", "replace").decode()


def _create_volume(storage: Storage, case: Case, source: Source, watch: Watch) -> pb.CreateVolumeResponse:
    return storage.rpc.CreateVolume(_volume_request(storage, case, source, watch), timeout=600)


def _volume_request(storage: Storage, case: Case, source: Source, watch: Watch) -> pb.CreateVolumeRequest:
    ref = storage.put_file(_readable(case.ct), watch(case.ct))
    return pb.CreateVolumeRequest(
        volume_id=case.volume_id,
        object=ref.name,
        dataset=source.dataset,
        source_id=(case.source_id or case.volume_id) if source.dataset else "",
        licence=source.licence or case.licence,
        hospital=case.hospital,
        phase=case.phase,
    )


def _import_whole(storage: Storage, case: Case, source: Source, watch: Watch, refusals: list[Refusal]) -> Imported:
    labels = [(case.label_map, "")] if case.label_map else [(path, name) for name, path in case.masks.items()]
    at_work = case.ct
    try:
        request = pb.ImportCaseRequest(volume_id=case.volume_id, volume=_volume_request(storage, case, source, watch))
        request.labels.class_map, request.labels.dataset_map = source.class_map, case.dataset_map
        request.labels.author = source.dataset
        request.labels.looked_for.extend(source.looked_for)
        for at_work, name in labels:
            ref = storage.put_file(_readable(at_work), watch(at_work))
            request.labels.files.add(object=ref.name, organ=name, display_name=display_name(at_work))
        at_work = case.ct
        done = storage.rpc.ImportCase(request, timeout=600)
    except AtlasError as error:
        if error.reason in ENDS_THE_IMPORT:
            raise
        guilty = [path for path, _ in labels if error.field and error.field == display_name(path)]
        refusals.append(Refusal(guilty[0] if guilty else at_work, error))
        return Imported(case, refusals=refusals)
    except OSError as error:
        refusals.append(Refusal(at_work, unreadable(error)))
        return Imported(case, refusals=refusals)
    version = done.label_version if done.HasField("label_version") else None
    return Imported(case, done.volume, version, refusals, done.duplicates)


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
            if error.reason in ENDS_THE_IMPORT:
                raise
            guilty = [entry for entry in left if entry[1].display_name in error.field] or left
            refusals.extend(Refusal(path, error) for path, _ in guilty)
            left = [entry for entry in left if entry not in guilty]
    return None


def _attempt(path: Path, refusals: list[Refusal], action: Callable[[], T]) -> T | None:
    try:
        return action()
    except AtlasError as error:
        if error.reason in ENDS_THE_IMPORT:
            raise
        refusals.append(Refusal(path, error))
    except OSError as error:
        refusals.append(Refusal(path, unreadable(error)))
    return None


def _readable(path: Path) -> Path:
    if path.stat().st_size == 0:
        raise AtlasError(Reason.FILE_TRUNCATED, "This file is empty.", remedy="Fetch it again.")
    return path
