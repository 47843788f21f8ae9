"""Label versions out of NIfTI files: masks or a label map, each checked against the CT that it belongs to."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import arrayfile, datasets, nifti
from services.core.alignment import Voxels, align, is_plain
from services.core.boxes import Boxed, crop
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.names import content_id, parse
from services.core.nifti import Header
from services.core.pairs import split
from services.core.rpc.convert import array_ref, geometry_from_proto
from services.storage import volumes
from services.storage.blobs import Blobs, parse_name
from services.storage.catalog.catalog import Catalog
from services.storage.cleaning import Cleaning
from services.storage.label_parts import give_out
from services.storage.label_plan import Asked, Plan, Target, check, kind, plan, title
from services.storage.records import Records

Mask = npt.NDArray[np.uint8]


class LabelImport:
    """Takes label files into the catalog. Blocks."""

    def __init__(self, catalog: Catalog, blobs: Blobs, cleaning: Cleaning, records: Records, gate: MemoryGate) -> None:
        self._catalog, self._blobs, self._cleaning = catalog, blobs, cleaning
        self._records, self._gate = records, gate

    def run(self, request: pb.ImportLabelVersionRequest) -> pb.LabelVersion:
        """Read, check and combine the files; the same files give the same label version.

        Raises GEOMETRY_MISMATCH, LABEL_UNKNOWN, ORGAN_UNKNOWN, MASK_NOT_BINARY and what the reading of a NIfTI file
        raises, with the file's display name as the field; and FIELD_INVALID if the files say nothing of our organs.
        """
        (volume_id,) = parse(request.parent, volumes.NAME, "parent")
        check(request)
        volume = volumes.message(self._catalog.volume(volume_id))
        require_drawn_on(volume, request)
        version_id = self.id_of(request)
        version = self._records.label_versions.find(volume_id, version_id)
        if version is None:
            made = self.prepare(request, volume)
            if made is None:
                raise says_nothing()
            version = self._records.label_versions.add(volume_id, version_id, made)
        self.keep(request.files)
        return version

    def keep(self, files: Sequence[pb.LabelFile]) -> None:
        """Let the files of a label version stay: they are recognised then, and not sent again."""
        for i, file in enumerate(files):
            self._cleaning.keep(file.object, f"files[{i}].object")

    def id_of(self, request: pb.ImportLabelVersionRequest) -> str:
        """The id of the label version that a request makes: it follows from all that the version is made of."""
        (volume_id,) = parse(request.parent, volumes.NAME, "parent")
        files = [(file, parse_name(file.object, f"files[{i}].object")) for i, file in enumerate(request.files)]
        return content_id(
            "import",
            volume_id,
            pb.Origin.Name(request.origin),
            request.author,
            *_maps(check(request)),
            *sorted(set(request.looked_for)),
            *sorted(f"{file.organ}={sha256}" for file, sha256 in files),
        )

    def prepare(self, request: pb.ImportLabelVersionRequest, volume: pb.Volume) -> pb.LabelVersion | None:
        """The label version of a volume, which need not be in the catalog yet; None if it would hold no organ.

        Raises what `run` raises of the request and its files.
        """
        asked = check(request)
        version = pb.LabelVersion(
            origin=request.origin,
            class_map=asked.class_map.name,
            author=request.author,
            dataset_map=request.dataset_map,
            dataset_map_version=asked.dataset.version if asked.dataset else 0,
        )
        case = _Case(volume, geometry_from_proto(volume.geometry), self._headers(request.files))
        version.notes.extend(case.notes())
        with self._gate.hold(case.needed_bytes(asked), what=title(request.files[0])):
            return version if self._fill(version, asked, case) else None

    def _fill(self, version: pb.LabelVersion, asked: Asked, case: "_Case") -> bool:
        """Put masks and organs into the version; whether there is any."""
        label_map = self._label_map(asked, case, version)
        made = plan(asked, _occurring(label_map) if label_map is not None else ())
        if asked.dataset and label_map is not None:
            made = give_out(made, asked.dataset, label_map, case.grid)
        version.notes.extend(made.notes)
        apart: dict[str, Boxed] = {}
        for target in made.targets:
            apart |= dict(self._sides(target, label_map, case, version))
        whole = {target.name: target for target in made.targets if len(target.organs) == 1}
        organs = [organ for organ in asked.class_map.organs if organ in whole or organ in apart]
        if not organs:
            return False
        writer = arrayfile.Writer(organs, "uint8", case.grid)
        for organ in organs:
            if organ in apart:
                writer.write(organ, apart[organ].voxels, apart[organ].corner)
                count = apart[organ].count
            else:
                mask = self._mask(whole[organ], label_map, case, version)
                writer.write(organ, mask)
                count = int(np.count_nonzero(mask))
            version.organs.append(_told(organ, count, made, version.origin, case.grid))
        data = writer.finish()
        version.masks.CopyFrom(array_ref(self._blobs.put(data), arrayfile.decode(data)))
        return True

    def _sides(
        self, target: Target, label_map: Voxels | None, case: "_Case", version: pb.LabelVersion
    ) -> Iterator[tuple[str, Boxed]]:
        """Left and right of an un-split pair; nothing of another target, and of a pair that cannot be told apart."""
        if len(target.organs) == 1:
            return
        parts = split(self._mask(target, label_map, case, version), case.grid)
        version.notes.append(f"{target.name}: {parts.note}")
        for organ, mask in zip(target.organs, (parts.left, parts.right), strict=True):
            if mask is not None:
                box = crop(mask)
                yield organ, Boxed(box.corner, box.voxels.copy())

    def _mask(self, target: Target, label_map: Voxels | None, case: "_Case", version: pb.LabelVersion) -> Mask:
        """The union of a target's pieces, uint8 0/1 (k, j, i) on the CT's grid."""
        union: Mask | None = None
        for piece in target.pieces:
            if piece.labels:
                assert label_map is not None
                mask = _labelled(label_map, piece.labels)
            else:
                with self._opened(piece.file) as file:
                    read = nifti.read_mask(file)
                    mask = cast(Mask, self._aligned(read.voxels, read.header, piece.file, case, version))
                version.notes.extend(f"{kind(piece.file)}: {note}" for note in read.notes)
            if union is None:
                union = mask
            else:
                union |= mask
        assert union is not None
        return union

    def _label_map(self, asked: Asked, case: "_Case", version: pb.LabelVersion) -> Voxels | None:
        if asked.label_map is None:
            return None
        with self._opened(asked.label_map) as file:
            read = nifti.read_labels(file)
            voxels = self._aligned(read.voxels, read.header, asked.label_map, case, version)
        version.notes.extend(f"{kind(asked.label_map)}: {note}" for note in read.notes)
        return voxels

    def _aligned(
        self, voxels: Voxels, header: Header, entry: pb.LabelFile, case: "_Case", version: pb.LabelVersion
    ) -> Voxels:
        """Labels on the CT's grid; what their header did about it is noted."""
        geometry = header.geometry
        if header.other_geometry and not is_plain(geometry, case.grid) and is_plain(header.other_geometry, case.grid):
            # Whoever lost the sform kept the qform: no chance makes it the CT's own grid.
            geometry = header.other_geometry
            version.notes.append(f"{kind(entry)}: the qform, which is the CT's own grid, was taken, and not the sform.")
        name, ct_name = title(entry), case.volume.name
        aligned = align(voxels, geometry, case.grid, lambda: self._ct(case.volume), name=name, ct_name=ct_name)
        if aligned.note:
            version.notes.append(f"{kind(entry)}: {aligned.note}")
        return aligned.voxels

    def _ct(self, volume: pb.Volume) -> npt.NDArray[np.int16]:
        with closing(self._blobs.open_buffered(volume.ct.sha256)) as file:
            return nifti.read_ct(file).voxels

    def _headers(self, files: Sequence[pb.LabelFile]) -> list[Header]:
        headers = []
        for entry in files:
            with self._opened(entry) as file:
                headers.append(nifti.read_header(file))
        return headers

    @contextmanager
    def _opened(self, entry: pb.LabelFile) -> Iterator[BinaryIO]:
        """The file, open and without texts; what is wrong with it is told with its name."""
        try:
            # Nothing is said of what was taken out: of the file nothing but its masks is kept.
            clean, _ = self._cleaning.clean(entry.object, "files.object")
            with closing(self._blobs.open_buffered(clean.sha256)) as file:
                yield file
        except AtlasError as error:
            raise error.at(title(entry)) from error


def require_drawn_on(volume: pb.Volume, request: pb.ImportLabelVersionRequest) -> None:
    """Raise FIELD_INVALID if the labels say that they were drawn on another CT, whether they came before or not."""
    if request.voxel_digest and request.voxel_digest != volume.voxel_digest:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The labels were drawn on another CT than {volume.name}.",
            field="voxel_digest",
            remedy="Import them to the volume that they were drawn on.",
        )


def says_nothing() -> AtlasError:
    """The refusal of labels of which no organ is ours."""
    return AtlasError(
        Reason.FIELD_INVALID,
        "The files say nothing of the organs of the class map.",
        field="files",
        remedy="Choose a class map that has what they label.",
    )


@dataclass(frozen=True)
class _Case:
    """The CT that labels belong to, and what the headers of all of its label files say."""

    volume: pb.Volume
    grid: Geometry
    headers: Sequence[Header]

    def notes(self) -> Iterator[str]:
        """What is odd about the files taken together."""
        kinds = sorted({header.dtype.newbyteorder("=").name for header in self.headers})
        if len(kinds) > 1:
            yield f"The label files of this case are stored as {', '.join(kinds)}; all were taken as whole numbers."
        elif kinds[0].startswith("float"):
            yield f"The labels are stored as {kinds[0]}; their values are whole numbers and were taken as such."

    def needed_bytes(self, asked: Asked) -> int:
        """Memory of the largest file, of a label map that stays, of masks that are united, and of the array file.

        A 0/1 mask of pure noise takes less than half a byte a voxel there, and at its end the array file is copied.
        Where a header contradicts the CT's, a second copy of the labels, a comparison and the CT are looked at too.
        """
        needed = max(map(nifti.labels_bytes, self.headers)) * (2 if asked.label_map else 1)
        organs = len(asked.class_map.organs) if asked.label_map else len(asked.masks)
        if asked.dataset:
            # A pair: the mask, what is left of it, and its two sides; or if they touch the mask, what is taken off in
            # two steps, the two parts, and the places between them, which are few.
            organs += 6
        if not all(is_plain(header.geometry, self.grid) for header in self.headers):
            organs += 2 + 2 + 1
        return needed + organs * self.grid.voxel_count + arrayfile.writer_bytes(self.grid)


def _maps(asked: Asked) -> list[str]:
    """Which class maps say what the files mean, and in which version: a mended one makes other labels of them.

    The first version goes without saying, as it did before there were others.
    """
    read_by = [datasets.load(asked.class_map.name), *([asked.dataset] if asked.dataset else [])]
    return [known.name + (f" version {known.version}" if known.version > 1 else "") for known in read_by]


def _told(organ: str, count: int, made: Plan, origin: pb.Origin.ValueType, grid: Geometry) -> pb.OrganLabel:
    target = next(target for target in made.targets if organ in target.organs)
    return pb.OrganLabel(
        organ=organ,
        origin=origin,
        voxels=count,
        volume_mm3=count * grid.voxel_volume_mm3,
        structures=target.structures,
        split_from=target.name if len(target.organs) > 1 else "",
    )


def _labelled(voxels: Voxels, labels: Sequence[int]) -> Mask:
    """Where a label map (k, j, i) holds one of `labels`: uint8, 0 or 1."""
    found = np.zeros(voxels.shape, np.bool_)
    for label in labels:
        if label <= np.iinfo(voxels.dtype).max:
            found |= voxels == label
    return found.view(np.uint8)


def _occurring(voxels: Voxels) -> list[int]:
    """The numbers that occur in a label map (k, j, i)."""
    occurs = np.zeros(np.iinfo(voxels.dtype).max + 1, np.bool_)
    for plane in voxels:
        occurs[plane] = True
    return [int(label) for label in np.flatnonzero(occurs)]
