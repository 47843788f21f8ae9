"""Channels of masks, heat maps and maps of disagreement."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.arrayfile import ArrayFile
from services.core.errors import AtlasError, Reason
from services.core.nifti import Header, write_mask
from services.core.storage import Storage

DISAGREEMENT = "disagreement"
"""The folder of a case that holds one map an organ."""


def uint8_channel(array: ArrayFile, name: str) -> npt.NDArray[np.uint8]:
    """One channel (k, j, i) of a uint8 array file. Raises ARRAY_FILE_CORRUPT if it holds another type."""
    if array.dtype != np.uint8:
        raise AtlasError(Reason.ARRAY_FILE_CORRUPT, f"uint8 was expected, this is {array.dtype}.", field=name)
    return cast(npt.NDArray[np.uint8], array.channel(name))


def write_disagreement(
    storage: Storage,
    labels: pb.LabelVersion,
    folder: Path,
    like: Header,
    on_file: Callable[[str], None] = lambda _: None,
) -> None:
    """Write `disagreement/<organ>.nii.gz` of every organ that several readers looked at: how many of them say other
    than the labels, on the CT's own grid. Nothing is written if there is no such organ.
    """
    if not labels.HasField("disagreement"):
        return
    array = storage.array(labels.disagreement)
    (folder / DISAGREEMENT).mkdir(parents=True, exist_ok=True)
    for organ in array.channels:
        on_file(f"{DISAGREEMENT}/{organ}.nii.gz")
        write_mask(folder / DISAGREEMENT / f"{organ}.nii.gz", uint8_channel(array, organ), array.geometry, like=like)
