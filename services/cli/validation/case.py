"""The faults of one case: `ct.nii.gz`, `combined_labels.nii.gz` and `segmentations/<organ>.nii.gz`.

One mask is in memory at a time, with the combined labels.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.cli.validation.faults import Fault, Kind, refused
from services.core import classmaps
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError
from services.core.geometry import Geometry
from services.core.nifti import Header, Labels, Mask, read_header, read_labels, read_mask

CT = "ct.nii.gz"
COMBINED = "combined_labels.nii.gz"
MASKS = "segmentations"
_EXPECTED = {CT, COMBINED, MASKS, "provenance.json"}
_SUFFIX = ".nii.gz"
_REWRITE = "Write the file again with the CT's shape and affine."


def case_faults(folder: Path, class_map: ClassMap | None) -> list[Fault]:
    """What is wrong with a case; `class_map` is the one that its release names, if it names one.

    File names are relative to the folder that the case lies in.
    """
    return list(_Case(folder, class_map).faults())


class _Case:
    def __init__(self, folder: Path, class_map: ClassMap | None) -> None:
        self._folder = folder
        self._masks = sorted((folder / MASKS).glob(f"*{_SUFFIX}"))
        self._class_map = class_map or classmaps.fitting(path.name.removesuffix(_SUFFIX) for path in self._masks)
        self._dtypes: dict[str, str] = {}

    def faults(self) -> Iterator[Fault]:
        yield from self._layout()
        ct = yield from self._header(self._folder / CT)
        combined = yield from self._combined(ct)
        painted = combined.voxels if combined else None
        ids = set[int]()
        for path in self._masks:
            ids.add(self._id(path))
            yield from self._mask(path, ct, painted)
        if painted is not None and self._masks:
            yield from self._unmasked(painted, ids)
        if len(set(self._dtypes.values())) > 1:
            told = ", ".join(f"{name} {dtype}" for name, dtype in self._dtypes.items())
            yield self._fault(MASKS, Kind.DTYPES_MIXED, f"The masks are not of one type: {told}.", "Use uint8.", False)

    def _layout(self) -> Iterator[Fault]:
        for path in sorted(self._folder.iterdir()):
            if path.name not in _EXPECTED:
                message, remedy = "Not a file of a case.", "Take it out, or name it as the layout does."
                yield self._fault(path.name, Kind.FILE_UNEXPECTED, message, remedy, False)
        for name, there in ((CT, (self._folder / CT).is_file()), (f"{MASKS}/*{_SUFFIX}", bool(self._masks))):
            if not there:
                yield self._fault(name, Kind.FILE_MISSING, "There is no such file.", "Add it, or leave the case out.")

    def _header(self, path: Path) -> Generator[Fault, None, Header | None]:
        if not path.is_file():
            return None
        try:
            header = read_header(path)
        except AtlasError as error:
            yield refused(self._name(path), error)
            return None
        yield from self._notes(path, header.notes)
        return header

    def _combined(self, ct: Header | None) -> Generator[Fault, None, Labels | None]:
        path = self._folder / COMBINED
        if not path.is_file():
            return None
        try:
            labels = read_labels(path)
        except AtlasError as error:
            yield refused(self._name(path), error)
            return None
        yield from self._notes(path, labels.notes)
        return labels if (yield from self._same_grid(path, labels, ct)) else None

    def _mask(self, path: Path, ct: Header | None, painted: npt.NDArray[Any] | None) -> Iterator[Fault]:
        organ = path.name.removesuffix(_SUFFIX)
        if not self._id(path):
            message = f"The class map {self._class_map.name} has no {organ!r}."
            yield self._fault(path, Kind.ORGAN_UNKNOWN, message, "Name masks as the class map does.", False)
        try:
            mask = read_mask(path)
        except AtlasError as error:
            yield refused(self._name(path), error)
            return
        self._dtypes[organ] = str(mask.header.dtype.newbyteorder("="))
        yield from self._notes(path, mask.notes)
        same = yield from self._same_grid(path, mask, ct)
        if same and painted is not None and self._id(path):
            yield from self._painted(path, mask.voxels.view(np.bool_), painted)

    def _same_grid(self, path: Path, labels: Labels | Mask, ct: Header | None) -> Generator[Fault, None, bool]:
        """Whether its voxels may be held against those of the combined labels, whatever its header says."""
        if ct is None or labels.geometry.is_close(ct.geometry):
            return ct is not None
        yield self._fault(path, Kind.GRID_DIFFERS, _difference(labels.geometry, ct.geometry), _REWRITE)
        return labels.geometry.shape == ct.geometry.shape

    def _painted(self, path: Path, mask: npt.NDArray[np.bool_], painted: npt.NDArray[Any]) -> Iterator[Fault]:
        mine = painted == self._id(path)
        stray = int(np.count_nonzero(mine & ~mask))
        bare = int(np.count_nonzero(mask & (painted == 0)))
        if stray or bare:
            message = f"{stray} voxels have this organ's id and lie outside its mask; {bare} of its mask have no id."
            yield self._fault(path, Kind.COMBINED_DIFFERS, message, f"Derive {COMBINED} from the masks again.")
        if lost := int(np.count_nonzero(mask & ~mine)) - bare:
            message = f"{lost} of its {int(np.count_nonzero(mask))} voxels have another organ's id."
            yield self._fault(path, Kind.COMBINED_DIFFERS, message, "Use the masks where organs overlap.", False)

    def _unmasked(self, painted: npt.NDArray[Any], ids: set[int]) -> Iterator[Fault]:
        counts = np.bincount(painted.ravel())
        left = {int(label): int(counts[label]) for label in np.flatnonzero(counts) if label and label not in ids}
        if left:
            told = ", ".join(f"{label} ({voxels} voxels)" for label, voxels in left.items())
            message = f"No mask belongs to the ids {told}."
            yield self._fault(COMBINED, Kind.COMBINED_DIFFERS, message, "Add the masks, or take the ids out.")

    def _notes(self, path: Path, notes: tuple[str, ...]) -> Iterator[Fault]:
        for note in notes:
            yield self._fault(path, Kind.HEADER_ODD, note, "Write the file again; readers may differ on it.", False)

    def _id(self, path: Path) -> int:
        """The organ's id, or 0 if the class map does not know it."""
        organ = path.name.removesuffix(_SUFFIX)
        return self._class_map.id_of(organ) if organ in self._class_map.organs else 0

    def _name(self, path: Path | str) -> str:
        relative = path.relative_to(self._folder) if isinstance(path, Path) else Path(path)
        return (Path(self._folder.name) / relative).as_posix()

    def _fault(self, path: Path | str, kind: Kind, message: str, remedy: str, grave: bool = True) -> Fault:
        return Fault(self._name(path), kind, message, remedy, grave)


def _difference(file: Geometry, ct: Geometry) -> str:
    if file.shape == ct.shape and file.orientation != ct.orientation:
        what = "Its header says another orientation than the CT's, on voxels of the same shape"
    elif file.shape == ct.shape and np.allclose(file.matrix[:3, :3], ct.matrix[:3, :3], atol=1e-3):
        apart = float(np.linalg.norm(file.matrix[:3, 3] - ct.matrix[:3, 3]))
        what = f"Its origin lies {apart:.4g} mm from the CT's"
    else:
        what = "Its grid is not the CT's"
    return f"{what}: {file} against {ct}."
