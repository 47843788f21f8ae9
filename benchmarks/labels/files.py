"""NIfTI files: reading and writing a CT, and the ten label files of a case."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks.labels.case import ORGANS, Case
from benchmarks.labels.measure import Contender
from services.core import nifti

nib: Any = nibabel  # its types are partial
Array = np.ndarray[Any, Any]


def _file(case: Case) -> Path:
    """The CT as nibabel writes it: what there is to read."""
    path = case.folder / "ct.nii.gz"
    if not path.exists():
        _nibabel_save(path, case.ct, case)
    path.read_bytes()
    return path


def _nibabel_save(path: Path, voxels: Array, case: Case) -> None:
    nib.save(nib.Nifti1Image(voxels.T, case.geometry.matrix), path)


def read_ours(case: Case) -> Callable[[], Array]:
    """The product's function, which also checks the file and every value."""
    path = _file(case)
    return lambda: nifti.read_ct(path).voxels


def read_nibabel(case: Case) -> Callable[[], Array]:
    """nibabel without its float64: `np.asarray(image.dataobj)`."""
    path = _file(case)
    return lambda: np.asarray(nib.load(path).dataobj)


def read_nibabel_float(case: Case) -> Callable[[], Array]:
    """nibabel as most people use it: `get_fdata`."""
    path = _file(case)
    return lambda: np.asarray(nib.load(path).get_fdata())


def write_ours(case: Case) -> Callable[[], Path]:
    """The product's function."""
    ct, path = case.ct, _target("ct.nii.gz")

    def run() -> Path:
        nifti.write_ct(path, ct, case.geometry)
        return path

    return run


def write_nibabel(case: Case) -> Callable[[], Path]:
    """nibabel at its own level, which is 1."""
    ct, path = case.ct, _target("ct.nii.gz")

    def run() -> Path:
        _nibabel_save(path, ct, case)
        return path

    return run


def _labels(case: Case) -> dict[str, Array]:
    masks = case.masks()
    combined = np.zeros_like(masks[0])
    for index, mask in enumerate(masks):
        combined[(combined == 0) & (mask != 0)] = index + 1
    return {**dict(zip(ORGANS, masks, strict=True)), "combined_labels": combined}


def labels_ours(case: Case) -> Callable[[], Path]:
    """The product's function."""
    labels, folder = _labels(case), _target("")

    def run() -> Path:
        for name, voxels in labels.items():
            nifti.write_mask(folder / f"{name}.nii.gz", voxels, case.geometry)
        return folder

    return run


def labels_nibabel(case: Case) -> Callable[[], Path]:
    """nibabel at its own level."""
    labels, folder = _labels(case), _target("")

    def run() -> Path:
        for name, voxels in labels.items():
            _nibabel_save(folder / f"{name}.nii.gz", voxels, case)
        return folder

    return run


def _target(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix="atlas-bench-")) / name


def _voxels(_case: Case, voxels: Array) -> dict[str, Any]:
    array = voxels if voxels.flags.c_contiguous else voxels.T
    return {"digest": hashlib.sha256(np.ascontiguousarray(array, np.int16).data).hexdigest()}


def _written(_case: Case, path: Path) -> dict[str, Any]:
    """Size, and a digest of what another reader finds."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(np.ascontiguousarray(np.asarray(nib.load(file).dataobj).T).data)
    return {"bytes": sum(file.stat().st_size for file in files), "digest": digest.hexdigest()}


CONTENDERS = {
    **{one.__name__: Contender(one, _voxels) for one in (read_ours, read_nibabel, read_nibabel_float)},
    **{one.__name__: Contender(one, _written) for one in (write_ours, write_nibabel, labels_ours, labels_nibabel)},
}
