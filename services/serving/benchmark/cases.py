"""The cases of a benchmark: synthetic ones drawn, files read, and training cases kept as networks see them."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from services.core import classmaps, nifti
from services.core.errors import AtlasError, Reason
from services.core.fingerprint import canonical_digest
from services.core.geometry import Geometry, mismatch
from services.serving.benchmark.plan import CaseFiles, Dataset
from services.serving.card import Card
from services.serving.training.cache import Entry
from services.serving.training.case import Case, working_case
from services.synthetic import HOSPITALS, make_case, write_case

T = TypeVar("T")


@dataclass(frozen=True)
class Labelled:
    """A CT, int16 HU (k, j, i), and the masks of the organs that its source looked for."""

    ct: NDArray[np.int16]
    geometry: Geometry
    masks: Mapping[str, NDArray[np.uint8]]

    @property
    def digest(self) -> str:
        """Equal for equal voxels, however their axes run."""
        return canonical_digest(self.ct, self.geometry)


def read(files: CaseFiles, class_map: str) -> Labelled:
    """Read one case. Raises what reading NIfTI raises, naming the file, and GEOMETRY_MISMATCH."""
    ct = _at(files.ct, nifti.read_ct)
    masks: dict[str, NDArray[np.uint8]] = {}
    if files.label_map is not None:
        labels = _at(files.label_map, nifti.read_labels)
        _require_same_grid(files.label_map, labels.geometry, ct.geometry)
        for id_, organ in classmaps.load(class_map).organs_by_id.items():
            if (found := labels.voxels == id_).any():
                masks[organ] = found.view(np.uint8)
    for organ, path in files.masks.items():
        mask = _at(path, nifti.read_mask)
        _require_same_grid(path, mask.geometry, ct.geometry)
        masks[organ] = mask.voxels
    return Labelled(ct.voxels, ct.geometry, masks)


def require_known(dataset: Dataset) -> None:
    """Raise FIELD_INVALID for a hospital that there is not."""
    if unknown := sorted(set(dataset.hospitals) - set(HOSPITALS)):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"There is no synthetic hospital {unknown[0][:64]!r}.",
            field=dataset.name[:64],
            remedy=f"Known: {', '.join(HOSPITALS)}.",
        )


def drawn(dataset: Dataset, folder: Path, workers: int) -> tuple[CaseFiles, ...]:
    """The dataset's cases; those of synthetic hospitals are rendered into `folder`, unless they are there."""
    if not dataset.hospitals:
        return dataset.cases
    numbers = range(dataset.count)
    with ProcessPoolExecutor(workers) as pool:
        return tuple(pool.map(partial(_draw, folder, dataset.name, dataset.hospitals), numbers))


def _draw(folder: Path, dataset: str, hospitals: Sequence[str], number: int) -> CaseFiles:
    hospital = hospitals[number % len(hospitals)]
    name = f"{hospital}-{number:04d}"
    target = folder / name
    if not target.is_dir():
        # Seeds by name: patients of one dataset never come again in another.
        case = make_case(zlib.crc32(f"{dataset}/{name}".encode()), profile=hospital)
        part = folder / f".{name}.part"
        write_case(case, part)
        part.rename(target)
    masks = {path.name.removesuffix(".nii.gz"): path for path in (target / "segmentations").iterdir()}
    return CaseFiles(name=name, ct=target / "ct.nii.gz", masks=dict(sorted(masks.items())))


def entry(files: CaseFiles, organs: Sequence[str], card: Card, class_map: str) -> Entry:
    """A training case as the card's network sees it, made when it is first drawn. `organs` are those it is labelled
    for. Its key follows from the files, as they are now, and from the network's grid.
    """
    paths = [files.ct, *([files.label_map] if files.label_map else []), *files.masks.values()]
    facts = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    about = repr((facts, class_map, card.grid_spacing_mm, card.working_factors, card.hu_window))
    return Entry(hashlib.sha256(about.encode()).hexdigest(), tuple(organs), partial(_made, files, card, class_map))


def _made(files: CaseFiles, card: Card, class_map: str) -> Case:
    case = read(files, class_map)
    masks = {organ: mask.view(np.bool_) for organ, mask in case.masks.items()}
    return working_case(files.name, case.ct, case.geometry, masks, card)


def _require_same_grid(path: Path, found: Geometry, ct: Geometry) -> None:
    if not found.is_close(ct):
        raise mismatch(found, ct, first_name=str(path), second_name="the CT")


def _at(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except AtlasError as error:
        raise error.at(str(path)) from error
