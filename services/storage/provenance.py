"""What a merged label version tells of where its voxels come from, held against its bytes and made searchable."""

from collections.abc import Callable, Iterator

import numpy as np

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.arrayfile import ArrayFile
from services.core.errors import AtlasError, Reason
from services.storage.catalog import tables

COMBINED, SOURCES = "combined_labels", "sources"
_FIELD = "label_version.sources"


def require_source_map(record: pb.LabelVersion, combined: ArrayFile) -> None:
    """Raise FIELD_INVALID unless the channels of combined labels are those of the contract, and the source map has as
    many voxels of every value as the record says.
    """
    if list(combined.channels) not in ([COMBINED], [COMBINED, SOURCES]):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"Combined labels have the channel {COMBINED} and may have {SOURCES}.",
            field="label_version.combined.channels",
        )
    counts = np.zeros(256, np.int64)
    if SOURCES in combined.channels:
        for _, slab in combined.slabs(SOURCES):
            # Plane by plane, because NumPy counts copies of eight bytes a voxel.
            for plane in slab:
                counts += np.bincount(plane.ravel(), minlength=256)
    told = {source.value: source.voxels for source in record.sources}
    found = {value: int(counts[value]) for value in range(1, 256) if counts[value]}
    if len(told) != len(record.sources) or {value: n for value, n in told.items() if n} != found:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "The source map holds other values than the record's sources tell.",
            field=_FIELD,
            remedy="Count the map that is recorded.",
        )


def uses(record: pb.LabelVersion, model_of: Callable[[str], str]) -> Iterator[tables.ModelUse]:
    """A row for every organ that has AI voxels and every model that made them; `model_of` a prediction's name."""
    for organ in record.organs:
        if organ.origin != pb.ORIGIN_AI or not organ.voxels:
            continue
        models = {model_of(name) for name in organ.predictions} | {model.name for model in organ.models}
        for name in sorted(models):
            model, _, version = name.removeprefix("models/").partition("/versions/")
            yield tables.ModelUse(
                organ=organ.organ, model=model, version=version, voxels=organ.voxels, volume_mm3=organ.volume_mm3
            )
