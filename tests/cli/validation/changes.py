"""Releases that are validated, and ways to spoil them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from services.cli.validation.faults import Fault
from services.cli.validation.folder import faults
from services.cli.validation.tree import cases_of, opened

nib: Any = nibabel
Change = Callable[[Path], None]
LIVER = "BDMAP_00000002/segmentations/liver.nii.gz"
REAL = os.environ.get("ATLAS_REAL_DATA")


def others(release: Path) -> Path:
    """The same cases without anything that our releases have beside them."""
    for path in (*release.glob("*.*"), release / "SHA256SUMS", *release.rglob("provenance.json")):
        path.unlink(missing_ok=True)
    return release


def found(folder: Path) -> list[Fault]:
    with opened(folder) as tree:
        return faults(tree, cases_of(tree))


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    image = nib.load(path)
    nib.save(change(image), path.with_name("new.nii.gz"))
    path.with_name("new.nii.gz").replace(path)


def lps_header(image: Any) -> Any:
    return nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([-1, -1, 1, 1]))


def moved_origin(image: Any) -> Any:
    affine = image.affine.copy()
    affine[2, 3] += 246
    return nib.Nifti1Image(np.asarray(image.dataobj), affine)


def smaller(image: Any) -> Any:
    voxels = np.asarray(image.dataobj).copy()
    voxels[tuple(np.argwhere(voxels)[:5].T)] = 0
    return nib.Nifti1Image(voxels, image.affine)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def be_text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def told(folder: Path) -> list[tuple[str, str]]:
    return [(fault.file, fault.kind) for fault in found(folder) if fault.grave]
