"""The source map: for every voxel of the combined labels, where its label comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.boxes import Mask
from services.core.classmaps import ClassMap
from services.merging.layers import Kind, Layers
from services.merging.precedence import Choice, Origin

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Whose word some voxels are: that of label versions or of predictions, or of a step that added them to a mask."""

    origin: Origin
    label_versions: tuple[str, ...]
    predictions: tuple[str, ...]
    change: Kind | None = None


def sources(choices: Sequence[Choice], layers: Layers) -> dict[Source, int]:
    """The sources of all organs with their values in the source map, from 1, in order of the organs."""
    found: dict[Source, int] = {}
    for choice in choices:
        for change in (None, *(change.kind for change in layers[choice.organ].additions)):
            found.setdefault(_source(choice, change), len(found) + 1)
    return found


def to_source_map(
    labels: Mask, choices: Sequence[Choice], layers: Layers, table: Mapping[Source, int], class_map: ClassMap
) -> Counts:
    """Turn a label map (k, j, i) into its source map, in place; voxels of every value, shape (256,).

    A voxel that a step added to the organ that is shown there comes from that step, the last of several.
    """
    values = np.zeros(256, np.uint8)
    # Numbers that no label has mark added voxels until all are translated at once.
    free = 255
    for choice in choices:
        own = [class_map.id_of(choice.organ)]
        values[own[0]] = table[_source(choice, None)]
        for change in layers[choice.organ].additions:
            added = change.added.mask
            part = labels[added.slices]
            part[(added.voxels != 0) & np.isin(part, own)] = free
            values[free] = table[_source(choice, change.kind)]
            own.append(free)
            free -= 1
    return np.asarray(_translate(labels.reshape(-1), values))


def _source(choice: Choice, change: Kind | None) -> Source:
    versions = choice.readers or ((choice.label_version,) if choice.label_version else ())
    return Source(choice.origin, versions, choice.predictions, change)


@njit(nogil=True, cache=True)
def _translate(voxels, values):  # type: ignore[no-untyped-def]
    counts = np.zeros(256, np.int64)
    for at in range(len(voxels)):
        if voxels[at] != 0:
            value = values[voxels[at]]
            voxels[at] = value
            counts[value] += 1
    return counts
