"""Sends cases to storage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.ingest.discover import Case, Refusal, unreadable
from services.core.errors import AtlasError, Reason
from services.core.storage import OnProgress, Storage

ENDS_THE_IMPORT = {Reason.DEPENDENCY_UNAVAILABLE, Reason.SHUTTING_DOWN, Reason.TOO_MANY_UPLOADS}
"""After these nothing else would go in either."""

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
    """What became of one case: it is in storage, or refused and nothing of it is."""

    case: Case
    volume: pb.Volume | None = None
    labels: pb.LabelVersion | None = None
    refusals: list[Refusal] = field(default_factory=list)
    duplicates: Sequence[pb.Duplicate] = ()
    """Other volumes that show the same scan."""


def import_case(storage: Storage, case: Case, source: Source, watch: Watch) -> Imported:
    """Bring one case in, CT and labels together or neither. Why it was refused is told in the result.

    Of a case with files that cannot be read each is named, and nothing is sent. What is inside the files is for storage
    to judge, which names the first that is wrong. Raises DEPENDENCY_UNAVAILABLE if storage is gone, because then
    nothing else would go in either.
    """
    labels = [(case.label_map, "")] if case.label_map else [(path, organ) for organ, path in case.masks.items()]
    refusals = [*case.refused, *_unreadable([case.ct, *(path for path, _ in labels)])]
    if refusals:
        return Imported(case, refusals=refusals)
    at_work = case.ct
    try:
        request = pb.ImportCaseRequest(volume_id=case.volume_id, volume=_volume_request(storage, case, source, watch))
        request.labels.class_map, request.labels.dataset_map = source.class_map, case.dataset_map
        request.labels.author = source.dataset or "source"
        request.labels.looked_for.extend(source.looked_for)
        for at_work, organ in labels:
            ref = storage.put_file(at_work, watch(at_work))
            request.labels.files.add(object=ref.name, organ=organ, display_name=display_name(at_work))
        at_work = case.ct
        done = storage.rpc.ImportCase(request, timeout=600)
    except AtlasError as error:
        if error.reason in ENDS_THE_IMPORT:
            raise
        guilty = [path for path, _ in labels if error.field in (display_name(path), "files")]
        return Imported(case, refusals=[Refusal(guilty[0] if guilty else at_work, error)])
    except OSError as error:
        return Imported(case, refusals=[Refusal(at_work, unreadable(error))])
    version = done.label_version if done.HasField("label_version") else None
    return Imported(case, done.volume, version, duplicates=done.duplicates)


def display_name(path: Path) -> str:
    """How messages name a file: its last three parts."""
    return "/".join(path.parts[-3:])[-255:].encode("utf-8", "replace").decode()


def _volume_request(storage: Storage, case: Case, source: Source, watch: Watch) -> pb.CreateVolumeRequest:
    ref = storage.put_file(case.ct, watch(case.ct))
    return pb.CreateVolumeRequest(
        volume_id=case.volume_id,
        object=ref.name,
        dataset=source.dataset,
        source_id=(case.source_id or case.volume_id) if source.dataset else "",
        licence=source.licence or case.licence,
        hospital=case.hospital,
        phase=case.phase,
    )


def _unreadable(paths: Sequence[Path]) -> Iterator[Refusal]:
    """The files of a case that hold nothing, or that the system does not let us read."""
    for path in paths:
        try:
            with path.open("rb") as file:
                if file.read(1):
                    continue
        except OSError as error:
            yield Refusal(path, unreadable(error))
            continue
        yield Refusal(path, AtlasError(Reason.FILE_TRUNCATED, "This file is empty.", remedy="Fetch it again."))
