"""Label versions out of NIfTI files: masks or a label map, each checked against the CT that it belongs to."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import arrayfile, classmaps, nifti
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, mismatch
from services.core.memory import MemoryGate
from services.core.names import content_id, parse
from services.core.rpc.convert import array_ref
from services.core.texts import require_text
from services.storage import volumes
from services.storage.blobs import Blobs, parse_name
from services.storage.catalog.catalog import Catalog
from services.storage.cleaning import Cleaning
from services.storage.records import Records

MAX_FILES = 256
_SHOWN_IDS = 20


class LabelImport:
    """Takes label files into the catalog. Blocks."""

    def __init__(self, catalog: Catalog, blobs: Blobs, records: Records, gate: MemoryGate) -> None:
        self._catalog, self._blobs, self._records, self._gate = catalog, blobs, records, gate
        self._cleaning = Cleaning(catalog, blobs)

    def run(self, request: pb.ImportLabelVersionRequest) -> pb.LabelVersion:
        """Read, check and combine the files; the same files give the same label version.

        Raises GEOMETRY_MISMATCH, LABEL_UNKNOWN, ORGAN_UNKNOWN, MASK_NOT_BINARY and what the reading of a NIfTI file
        raises, with the file's display name as the field.
        """
        (volume_id,) = parse(request.parent, volumes.NAME, "parent")
        class_map = _check(request)
        ct = volumes.geometry(self._catalog.volume(volume_id))
        files = [(file, parse_name(file.object, f"files[{i}].object")) for i, file in enumerate(request.files)]
        version_id = content_id(
            "import",
            volume_id,
            pb.Origin.Name(request.origin),
            request.author,
            class_map.name,
            *sorted(set(request.looked_for)),
            *sorted(f"{file.organ}={sha256}" for file, sha256 in files),
        )
        stored = self._records.label_versions.find(volume_id, version_id)
        if stored:
            return stored
        version = pb.LabelVersion(origin=request.origin, class_map=class_map.name, author=request.author)
        self._read(version, request, class_map, ct, request.parent)
        return self._records.label_versions.add(volume_id, version_id, version)

    def _read(
        self,
        version: pb.LabelVersion,
        request: pb.ImportLabelVersionRequest,
        class_map: ClassMap,
        ct: Geometry,
        ct_name: str,
    ) -> None:
        """Fill in masks, organs and notes of `version`."""
        label_map, masks = _sorted(request.files, class_map)
        organs, labels = {organ for organ, _ in masks}, None
        with self._holding(request.files, class_map, ct, label_map is not None):
            if label_map:
                with self._opened(label_map) as file:
                    labels = nifti.read_labels(file)
                    _require_same_grid(labels.geometry, ct, label_map, ct_name, version)
                    mapped = _mapped_organs(labels.voxels, class_map, request.looked_for)
                version.notes.extend(f"{_title(label_map)}: {note}" for note in labels.notes)
                if organs & mapped:
                    raise _twice(sorted(organs & mapped)[0])
                organs |= mapped
            in_order = [organ for organ in class_map.organs if organ in organs]
            writer = arrayfile.Writer(in_order, "uint8", ct)
            counts: dict[str, int] = {}
            for organ, entry in masks:
                with self._opened(entry) as file:
                    mask = nifti.read_mask(file)
                    _require_same_grid(mask.geometry, ct, entry, ct_name, version)
                version.notes.extend(f"{_title(entry)}: {note}" for note in mask.notes)
                writer.write(organ, mask.voxels)
                counts[organ] = int(np.count_nonzero(mask.voxels))
            if labels:
                for organ in (organ for organ in in_order if organ not in counts):
                    is_organ = (labels.voxels == class_map.id_of(organ)).view(np.uint8)
                    writer.write(organ, is_organ)
                    counts[organ] = int(np.count_nonzero(is_organ))
            data = writer.finish()
            version.masks.CopyFrom(array_ref(self._blobs.put(data), arrayfile.decode(data)))
        version.organs.extend(
            pb.OrganLabel(
                organ=organ,
                origin=request.origin,
                voxels=counts[organ],
                volume_mm3=counts[organ] * ct.voxel_volume_mm3,
            )
            for organ in in_order
        )

    @contextmanager
    def _holding(
        self, files: Sequence[pb.LabelFile], class_map: ClassMap, ct: Geometry, has_map: bool
    ) -> Iterator[None]:
        """The memory of the largest file, of a label map that stays while masks are read, and of the array file.

        A 0/1 mask of pure noise takes less than half a byte a voxel there, and at its end the array file is copied.
        """
        needed = 0
        for entry in files:
            with self._opened(entry) as file:
                needed = max(needed, nifti.labels_bytes(nifti.read_header(file)))
        organs = len(class_map.organs) if has_map else len(files)
        needed = needed * (2 if has_map else 1) + organs * ct.voxel_count
        with self._gate.hold(needed, what=_title(files[0])):
            yield

    @contextmanager
    def _opened(self, entry: pb.LabelFile) -> Iterator[BinaryIO]:
        """The file, open and without texts; what is wrong with it is told with its name."""
        try:
            # Nothing is said of what was taken out: of the file nothing but its masks is kept.
            clean, _ = self._cleaning.clean(entry.object, "files.object")
            with closing(self._blobs.open_buffered(clean.sha256)) as file:
                yield file
        except AtlasError as error:
            raise error.at(_title(entry)) from error


def _check(request: pb.ImportLabelVersionRequest) -> ClassMap:
    class_map = classmaps.load(request.class_map or classmaps.DEFAULT)
    if request.origin not in (pb.ORIGIN_SOURCE, pb.ORIGIN_REVISION):
        raise AtlasError(
            Reason.FIELD_INVALID,
            "What is imported comes from a source or from a revision.",
            field="origin",
            remedy="Use ORIGIN_SOURCE or ORIGIN_REVISION.",
        )
    require_text(request.author, "author", required=True)
    if not 0 < len(request.files) <= MAX_FILES:
        raise AtlasError(Reason.FIELD_REQUIRED, f"1 to {MAX_FILES} files are expected.", field="files")
    class_map.require(tuple(request.looked_for), field="looked_for")
    for entry in request.files:
        require_text(entry.display_name, "files.display_name", longest=255)
    return class_map


def _sorted(
    files: Sequence[pb.LabelFile], class_map: ClassMap
) -> tuple[pb.LabelFile | None, list[tuple[str, pb.LabelFile]]]:
    """(the label map if there is one, (organ, mask file) in order of the class map)."""
    maps = [entry for entry in files if not entry.organ]
    masks = {entry.organ: entry for entry in files if entry.organ}
    for entry in masks.values():
        class_map.require([entry.organ], field=_title(entry))
    if len(maps) > 1:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "There is more than one label map.",
            field=_title(maps[1]),
            remedy="Name the organ of each binary mask, and import one label map at a time.",
        )
    if len(maps) + len(masks) < len(files):
        organs = [entry.organ for entry in files]
        raise _twice(next(organ for organ in organs if organs.count(organ) > 1))
    return (maps[0] if maps else None), [(organ, masks[organ]) for organ in class_map.organs if organ in masks]


def _mapped_organs(
    voxels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], class_map: ClassMap, looked_for: Sequence[str]
) -> set[str]:
    """The organs that a label map speaks of: those looked for, or those that occur in it."""
    occurs = np.zeros(np.iinfo(voxels.dtype).max + 1, np.bool_)
    for plane in voxels:
        occurs[plane] = True
    ids = [int(id_) for id_ in np.flatnonzero(occurs) if id_]
    unknown = [id_ for id_ in ids if id_ not in class_map.organs_by_id]
    if unknown:
        more = f" and {len(unknown) - _SHOWN_IDS} more" if len(unknown) > _SHOWN_IDS else ""
        raise AtlasError(
            Reason.LABEL_UNKNOWN,
            f"The class map {class_map.name} has no {', '.join(map(str, unknown[:_SHOWN_IDS]))}{more}.",
            field="file",
            remedy="Name the class map that the ids belong to, or map the ids first.",
        )
    present = {class_map.organs_by_id[id_] for id_ in ids}
    if looked_for and present - set(looked_for):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The label map holds {', '.join(sorted(present - set(looked_for)))}, which nobody looked for.",
            field="looked_for",
            remedy="Add them to looked_for, or leave it empty.",
        )
    return set(looked_for) or present


def _require_same_grid(
    grid: Geometry, ct: Geometry, entry: pb.LabelFile, ct_name: str, version: pb.LabelVersion
) -> None:
    """Raise GEOMETRY_MISMATCH unless the grids agree up to what headers in float32 lose."""
    if not grid.is_close(ct):
        raise mismatch(grid, ct, first_name=_title(entry), second_name=ct_name)
    if grid.digest != ct.digest:
        version.notes.append(f"{_title(entry)}: the affine differs from the CT's by rounding; the CT's was taken.")


def _title(entry: pb.LabelFile) -> str:
    return entry.display_name or entry.object


def _twice(organ: str) -> AtlasError:
    return AtlasError(
        Reason.FIELD_INVALID, f"More than one file holds {organ}.", field="files", remedy="Give each organ once."
    )
