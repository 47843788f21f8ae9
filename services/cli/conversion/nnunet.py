"""nnU-Net's raw layout: `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz`, `dataset.json`; Ts for testing."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.cli.abreast import abreast
from services.cli.conversion.cases import LaidOut
from services.cli.ingest.discover import Refusal, unreadable
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, mismatch
from services.core.nifti import read_header, read_mask, write_mask

ENDING = ".nii.gz"
_NAME = re.compile(r"Dataset\d{3}_\w+")


@dataclass(frozen=True)
class Written:
    """What became of the cases; `left_out` lack one of the organs, by name."""

    training: int
    testing: int
    left_out: dict[str, tuple[str, ...]]
    refused: list[Refusal]


def shared_organs(cases: Sequence[LaidOut], order: Sequence[str]) -> tuple[str, ...]:
    """The organs that have a mask in every case. Raises FIELD_INVALID if there is none."""
    organs = tuple(organ for organ in order if cases and all(organ in case.masks for case in cases))
    if not organs:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "No organ is known in all cases.",
            field="--organs",
            remedy="Name organs; cases that lack one of them are left out.",
        )
    return organs


def write_nnunet(
    cases: Sequence[LaidOut], organs: Sequence[str], to: Path, on_case: Callable[[LaidOut], None] = lambda _: None
) -> Written:
    """Write the cases in which all of `organs` are known; the folder `to` appears only when it is whole.

    nnU-Net takes for background what no label covers, so a case with an unknown organ would teach it that there is
    none. Label ids follow the order of `organs`. CTs are hard links where the file system allows it. One mask of a case
    is in memory at a time. Raises NAME_INVALID, RESOURCE_CONFLICT, FIELD_INVALID, DISK_FULL, or where no case could be
    written, what was wrong with the first.
    """
    if not _NAME.fullmatch(to.name):
        message, remedy = "nnU-Net would not find it.", "Name the folder such as Dataset701_Atlas."
        raise AtlasError(Reason.NAME_INVALID, message, field=str(to), remedy=remedy)
    if os.path.lexists(to):
        message = "There is such a folder already."
        raise AtlasError(Reason.RESOURCE_CONFLICT, message, field=str(to), remedy="Name a new folder.")
    left_out = {c.name: tuple(o for o in organs if o not in c.masks) for c in cases if set(organs) - set(c.masks)}
    chosen = [case for case in cases if case.name not in left_out]
    if not chosen:
        message = "In no case are all of these organs known."
        raise AtlasError(Reason.FIELD_INVALID, message, field="--organs", remedy="Name fewer of them.")
    to.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=".part", dir=to.parent))
    try:
        part.chmod(0o755)
        ids = {organ: number for number, organ in enumerate(organs, start=1)}
        refused: dict[str, Refusal] = {}
        with closing(abreast(lambda case: _attempt(case, ids, part), chosen)) as refusals:
            for case, refusal in zip(chosen, refusals, strict=True):
                if refusal:
                    refused[case.name] = refusal
                on_case(case)
        done = [case for case in chosen if case.name not in refused]
        if not done:
            raise _none_written(list(refused.values()))
        testing = sum(case.is_test for case in done)
        _write_dataset(part / "dataset.json", to.name, ids, len(done) - testing)
        part.rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Written(len(done) - testing, testing, left_out, list(refused.values()))


def _attempt(case: LaidOut, ids: dict[str, int], to: Path) -> Refusal | None:
    """Write one case. What is wrong with it is told, and nothing of it is left. Raises DISK_FULL."""
    side = "Ts" if case.is_test else "Tr"
    image, label = (to / f"{what}{side}" for what in ("images", "labels"))
    for folder in (image, label):
        folder.mkdir(exist_ok=True)
    files = (label / f"{case.name}{ENDING}", image / f"{case.name}_0000{ENDING}")
    try:
        _write_labels(case, ids, files[0])
        _link(case.ct, files[1])
    except (AtlasError, OSError) as error:
        for file in files:
            file.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message, remedy = "There is no room left for the cases.", "Free some, or name a folder on another disk."
            raise AtlasError(Reason.DISK_FULL, message, field=str(to.parent), remedy=remedy) from error
        return Refusal(case.ct.parent, error if isinstance(error, AtlasError) else unreadable(error))
    return None


def _none_written(refused: Sequence[Refusal]) -> AtlasError:
    first = refused[0].error
    message = f"None of {len(refused)} cases could be written. The first: {first.message}"
    return AtlasError(first.reason, message, field=str(refused[0].path), remedy=first.remedy)


def _write_labels(case: LaidOut, ids: dict[str, int], path: Path) -> None:
    if not case.ct.name.endswith(ENDING):
        message = "nnU-Net wants all files of one kind."
        raise AtlasError(Reason.FIELD_INVALID, message, field=case.ct.name, remedy="Compress it with gzip.")
    header = read_header(case.ct)
    labels = np.zeros(header.geometry.array_shape, np.uint8)
    # What shows where masks overlap comes last.
    for organ in reversed(case.masks):
        if organ in ids:
            labels[_mask(case, organ, header.geometry)] = ids[organ]
    write_mask(path, labels, header.geometry, like=header)


def _mask(case: LaidOut, organ: str, grid: Geometry) -> npt.NDArray[np.bool_]:
    mask = read_mask(case.masks[organ])
    if not mask.geometry.is_close(grid):
        raise mismatch(mask.geometry, grid, first_name=case.masks[organ].name, second_name=case.ct.name)
    return mask.voxels.view(np.bool_)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _write_dataset(path: Path, name: str, ids: dict[str, int], training: int) -> None:
    data = {
        "name": name,
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **ids},
        "numTraining": training,
        "file_ending": ENDING,
    }
    path.write_text(json.dumps(data, indent=2) + "\n")
