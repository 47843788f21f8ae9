"""Cases from folders of label maps, whoever made them.

A folder is one case or holds cases. A case has binary masks `<organ>.nii.gz`, in `segmentations/` or flat in its
folder, or else one `combined_labels.nii.gz` with the ids of the class map; a `ct.nii.gz` if there is one. Files of
other names are left aside. An organ without a file, or without a voxel in `combined_labels`, is unknown; one whose mask
is empty is absent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.error_detection.cases import ORGANS, LabelCase, cropped, on_grid
from services.core import classmaps, nifti
from services.core.alignment import align
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, mismatch, network_grid
from services.core.resample import to_grid

T = TypeVar("T")
Voxels = npt.NDArray[np.uint8]

_SUFFIXES = (".nii.gz", ".nii")
# Releases append ids to those of the first.
_CLASS_MAP = max(map(classmaps.load, classmaps.names()), key=lambda class_map: len(class_map.organs))


@dataclass(frozen=True)
class CaseFiles:
    """One case on disk; `masks` by organ, `label_map` only where there are none, `ignored` names of other files."""

    name: str
    masks: dict[str, Path] = field(default_factory=dict)
    label_map: Path | None = None
    ct: Path | None = None
    ignored: tuple[str, ...] = ()


def find(folder: Path) -> list[CaseFiles]:
    """The cases of a folder, in the order of their names. Raises FOLDER_EMPTY, or FIELD_INVALID for an organ twice."""
    itself = _case(folder)
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = [itself] if itself else [files for path in inside if (files := _case(path))]
    if not found:
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            "This folder holds no case.",
            field=str(folder),
            remedy="A case has segmentations/<organ>.nii.gz, <organ>.nii.gz or combined_labels.nii.gz; organs are "
            f"{', '.join(ORGANS)}.",
        )
    return found


def read(files: CaseFiles, spacing_mm: float = 1.5) -> LabelCase:
    """The case on the network grid of its CT, or of its labels if it has none, in the box of its organs.

    Every mask is laid on one grid by its own header, as storage lays what it imports. Raises GEOMETRY_MISMATCH, naming
    both files, where that is not certain, FIELD_INVALID where no organ has a voxel, and what reading NIfTI raises.
    """
    ct = _at(files.ct, nifti.read_ct) if files.ct else None
    masks = _masks(files)
    if not any(voxels.any() for voxels, _, _ in masks.values()):
        raise AtlasError(
            Reason.FIELD_INVALID, "No organ has a voxel in this case.", field=files.name, remedy="Leave the case out."
        )
    _, base, base_path = next(iter(masks.values()))
    if ct and files.ct:
        base, base_path = ct.geometry, files.ct
    grid = network_grid(base, spacing_mm)
    truth = {}
    for organ, (voxels, geometry, path) in masks.items():

        def hu(geometry: Geometry = geometry, path: Path = path) -> npt.NDArray[np.int16]:
            if ct is None:
                raise mismatch(geometry, base, first_name=str(path), second_name=str(base_path))
            return ct.voxels

        laid = align(voxels, geometry, base, hu, name=str(path), ct_name=str(base_path))
        truth[organ] = on_grid(laid.voxels != 0, base, grid)
    scan = to_grid(ct.voxels, ct.geometry, grid) if ct else None
    return cropped(LabelCase(files.name, grid, truth, scan))


def _masks(files: CaseFiles) -> dict[str, tuple[Voxels, Geometry, Path]]:
    if not files.label_map:
        read = {organ: (_at(path, nifti.read_mask), path) for organ, path in files.masks.items()}
        return {organ: (mask.voxels, mask.geometry, path) for organ, (mask, path) in read.items()}
    labels = _at(files.label_map, nifti.read_labels)
    if (highest := int(labels.voxels.max())) > max(_CLASS_MAP.organs_by_id):
        raise AtlasError(
            Reason.LABEL_UNKNOWN,
            f"It holds the label {highest}, which {_CLASS_MAP.name} does not know.",
            field=str(files.label_map),
            remedy="Give one mask an organ, segmentations/<organ>.nii.gz, or the ids of the class map.",
        )
    found = {organ: labels.voxels == _CLASS_MAP.id_of(organ) for organ in ORGANS}
    return {
        organ: (mask.view(np.uint8), labels.geometry, files.label_map) for organ, mask in found.items() if mask.any()
    }


def _case(folder: Path) -> CaseFiles | None:
    masks: dict[str, Path] = {}
    ignored = []
    for organ, path in (*_nifti_files(folder), *_nifti_files(folder / "segmentations")):
        if organ in masks:
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"{organ} is there twice: {masks[organ].name} is a mask of it too.",
                field=str(path),
                remedy="Remove one of the two files.",
            )
        if organ in ORGANS:
            masks[organ] = path
        elif organ not in ("ct", "combined_labels"):
            ignored.append(organ)
    beside = dict(_nifti_files(folder))
    label_map = None if masks else beside.get("combined_labels")
    if not masks and not label_map:
        return None
    ordered = {organ: masks[organ] for organ in ORGANS if organ in masks}
    return CaseFiles(folder.resolve().name, ordered, label_map, beside.get("ct"), tuple(sorted(ignored)))


def _nifti_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name without suffix, path); what macOS leaves beside files is none."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
        if suffix and path.is_file() and not path.name.startswith("._"):
            yield path.name.removesuffix(suffix), path


def _at(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except AtlasError as error:
        raise error.at(str(path)) from error
