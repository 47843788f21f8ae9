"""The faults of one case: `ct.nii.gz`, `combined_labels.nii.gz` and `segmentations/<organ>.nii.gz`.

The CT is in memory alone; then one mask at a time, with the combined labels.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.cli.masks import DISAGREEMENT
from services.cli.validation.faults import Fault, Kind, refused
from services.cli.validation.tree import CT, MASKS
from services.core import classmaps
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError
from services.core.fingerprint import Profile, canonical_digest, profile
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.nifti import Header, Labels, Mask, read_ct, read_header, read_labels, read_mask

COMBINED = "combined_labels.nii.gz"
_PROVENANCE = "provenance.json"
_SOURCES = "sources.nii.gz"
_EXPECTED = {CT, COMBINED, MASKS, DISAGREEMENT, _SOURCES, _PROVENANCE}
_SUFFIX = ".nii.gz"
_REWRITE = "Write the file again with the CT's shape and affine."
_BYTES_A_VOXEL = 6
"""Memory of a case: the CT, or a label map of 16 bits with a mask and what is compared of both."""


@dataclass(frozen=True)
class Scan:
    """What tells whether another CT shows the same scan; see `core.fingerprint`."""

    digest: str
    profile: Profile


@dataclass(frozen=True)
class Seen:
    """One case: what is wrong with it, and what is compared with the other cases."""

    name: str
    faults: list[Fault]
    organs: frozenset[str]
    """Organs of the class map that have a mask."""
    unknown: frozenset[str]
    """Organs of which its provenance says that nobody looked for them."""
    scan: Scan | None
    """None if the CT cannot be read."""


def look(folder: Path, class_map: ClassMap | None, gate: MemoryGate) -> Seen:
    """Read a case; `class_map` is the one that its release names, if it names one.

    File names in faults are relative to the folder that the case lies in.
    """
    case = _Case(folder, class_map)
    try:
        with gate.hold(case.needed_bytes(), what=folder.name):
            found = list(case.faults())
    except (AtlasError, OSError) as error:
        found = [refused(folder.name, error)]
    return Seen(folder.name, found, frozenset(case.organs), _unknown(folder / _PROVENANCE), case.scan)


def _unknown(path: Path) -> frozenset[str]:
    try:
        return frozenset(map(str, json.loads(path.read_text())["unknown_organs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


class _Case:
    def __init__(self, folder: Path, class_map: ClassMap | None) -> None:
        self._folder = folder
        self._masks = sorted((folder / MASKS).glob(f"*{_SUFFIX}"))
        names = [path.name.removesuffix(_SUFFIX) for path in self._masks]
        self._class_map = class_map or classmaps.fitting(names)
        self._dtypes: dict[str, str] = {}
        self.organs = set(names) & set(self._class_map.organs)
        self.scan: Scan | None = None
        self._grids: dict[Path, Geometry] = {}
        for path in (folder / CT, folder / COMBINED, *self._masks):
            with suppress(AtlasError, OSError):
                self._grids[path] = read_header(path).geometry
        self._grid = self._grids.get(folder / CT) or _most_common(list(self._grids.values()))

    def needed_bytes(self) -> int:
        """Memory for reading the case, by the headers that can be read."""
        return _BYTES_A_VOXEL * max((grid.voxel_count for grid in self._grids.values()), default=0) + 64 * 2**20

    def faults(self) -> Iterator[Fault]:
        """Of the layout, then file by file."""
        yield from self._layout()
        yield from self._ct()
        combined = yield from self._labels(self._folder / COMBINED)
        painted = combined.voxels if combined else None
        if painted is not None:
            yield from self._sources(painted)
        ids = set[int]()
        for path in self._masks:
            ids.add(self._id(path))
            yield from self._mask(path, painted)
        if painted is not None and self._masks:
            yield from self._unmasked(painted, ids)
        yield from self._disagreement()
        if len(set(self._dtypes.values())) > 1:
            told = ", ".join(f"{name} {dtype}" for name, dtype in self._dtypes.items())
            yield self._fault(MASKS, Kind.DTYPES_MIXED, f"The masks are not of one type: {told}.", "Use uint8.", False)

    def _layout(self) -> Iterator[Fault]:
        for path in sorted(self._folder.iterdir()):
            if path.name not in _EXPECTED:
                message, remedy = "Not a file of a case.", "Take it out, or name it as the layout does."
                yield self._fault(path.name, Kind.FILE_UNEXPECTED, message, remedy, False)
        for path in sorted((self._folder / MASKS).glob("*")):
            if not path.name.endswith(_SUFFIX):
                message, remedy = "No mask: it was not read.", f"Take it out, or store it as <organ>{_SUFFIX}."
                yield self._fault(path, Kind.FILE_UNEXPECTED, message, remedy, False)
        for name, there in ((CT, (self._folder / CT).is_file()), (f"{MASKS}/*{_SUFFIX}", bool(self._masks))):
            if not there:
                yield self._fault(name, Kind.FILE_MISSING, "There is no such file.", "Add it, or leave the case out.")

    def _ct(self) -> Iterator[Fault]:
        path = self._folder / CT
        if not path.is_file():
            return
        try:
            ct = read_ct(path)
            ct.require_no_labels()
        except (AtlasError, OSError) as error:
            yield refused(self._name(path), error)
            return
        yield from self._notes(path, ct.header.notes)
        for note in ct.notes[len(ct.header.notes) :]:
            yield self._fault(path, Kind.VALUES_ODD, note, "Convert the series again, into HU.", False)
        self.scan = Scan(canonical_digest(ct.voxels, ct.geometry), profile(ct.voxels, ct.geometry))

    def _labels(self, path: Path) -> Generator[Fault, None, Labels | None]:
        """A label map, if it is there and its voxels may be held against those of others."""
        if not path.is_file():
            return None
        try:
            labels = read_labels(path)
        except (AtlasError, OSError) as error:
            yield refused(self._name(path), error)
            return None
        yield from self._notes(path, labels.notes)
        yield from self._stored(path, labels.header, np.flatnonzero(_counts(labels.voxels)))
        return labels if (yield from self._same_grid(path, labels)) else None

    def _sources(self, painted: npt.NDArray[Any]) -> Iterator[Fault]:
        sources = yield from self._labels(self._folder / _SOURCES)
        if sources and (astray := int(np.count_nonzero((sources.voxels != 0) != (painted != 0)))):
            message = f"{astray} voxels have a source and no label in {COMBINED}, or the other way round."
            yield self._fault(_SOURCES, Kind.COMBINED_DIFFERS, message, "Restore both as they were written.")

    def _mask(self, path: Path, painted: npt.NDArray[Any] | None) -> Iterator[Fault]:
        organ = path.name.removesuffix(_SUFFIX)
        if not self._id(path):
            message = f"The class map {self._class_map.name} has no {organ!r}."
            yield self._fault(path, Kind.ORGAN_UNKNOWN, message, "Name masks as the class map does.", False)
        try:
            mask = read_mask(path)
        except (AtlasError, OSError) as error:
            yield refused(self._name(path), error)
            return
        self._dtypes[organ] = str(mask.header.dtype.newbyteorder("="))
        yield from self._notes(path, mask.notes)
        yield from self._stored(path, mask.header, np.ones(1))
        same = yield from self._same_grid(path, mask)
        if same and painted is not None and self._id(path):
            yield from self._painted(path, mask.voxels.view(np.bool_), painted)

    def _disagreement(self) -> Iterator[Fault]:
        """Of the maps of where readers disagree: each lies on the CT's grid, and is of an organ that has a mask."""
        for path in sorted((self._folder / DISAGREEMENT).glob("*")):
            if not path.name.endswith(_SUFFIX) or path.name not in {mask.name for mask in self._masks}:
                message, remedy = "No mask of the case has this name.", "Take it out, or restore the mask."
                yield self._fault(path, Kind.FILE_UNEXPECTED, message, remedy, False)
                continue
            if self._grid:
                yield from self._labels(path)

    def _same_grid(self, path: Path, labels: Labels | Mask) -> Generator[Fault, None, bool]:
        """Whether its voxels may be held against those of the combined labels, whatever its header says."""
        wanted = self._grid
        assert wanted, "its own header was read"
        if labels.geometry.is_close(wanted):
            return True
        whose = "the CT's" if self._folder / CT in self._grids else "that of most files"
        yield self._fault(path, Kind.GRID_DIFFERS, _difference(labels.geometry, wanted, whose), _REWRITE)
        return labels.geometry.shape == wanted.shape

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
        counts = _counts(painted)
        left = {int(label): int(counts[label]) for label in np.flatnonzero(counts) if label and label not in ids}
        if left:
            told = ", ".join(f"{label} ({voxels} voxels)" for label, voxels in left.items())
            message = f"No mask belongs to the ids {told}."
            yield self._fault(COMBINED, Kind.COMBINED_DIFFERS, message, "Add the masks, or take the ids out.")

    def _stored(self, path: Path, header: Header, labels: npt.NDArray[Any]) -> Iterator[Fault]:
        """How whole numbers are stored, where readers may not get them back."""
        kind = header.dtype.newbyteorder("=").name
        if header.dtype.kind == "f":
            yield self._fault(path, Kind.VALUES_ODD, f"Its labels are stored as {kind}.", "Use uint8.", False)
        if header.is_scaled:
            read = header.scaled(np.rint((labels - header.intercept) / header.slope))
            how = f"It is stored as {kind} with slope {header.slope:.6g} and intercept {header.intercept:.6g}"
            if (off := labels != read).any():
                message = f"{how}: who asks for {labels[off][0]:.0f} finds nothing, for it reads as {read[off][0]:.9g}."
                yield self._fault(path, Kind.LABELS_SCALED, message, "Store the numbers themselves, as uint8.")
            else:
                yield self._fault(path, Kind.LABELS_SCALED, f"{how}.", "Store the numbers themselves.", False)

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


def _most_common(grids: list[Geometry]) -> Geometry | None:
    return max(grids, key=lambda grid: sum(map(grid.is_close, grids)), default=None)


def _counts(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Voxels of each label of a map (k, j, i); plane by plane, for every voxel of a plane becomes 8 bytes."""
    counts = np.zeros(int(labels.max()) + 1, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return counts


def _difference(file: Geometry, other: Geometry, whose: str) -> str:
    if file.shape == other.shape and file.orientation != other.orientation:
        what = f"Its header says another orientation than {whose}, on voxels of the same shape"
    elif file.shape == other.shape and np.allclose(file.matrix[:3, :3], other.matrix[:3, :3], atol=1e-3):
        apart = float(np.linalg.norm(file.matrix[:3, 3] - other.matrix[:3, 3]))
        what = f"Its origin lies {apart:.4g} mm from {whose}"
    else:
        what = f"Its grid is not {whose}"
    return f"{what}: {file} against {other}."
