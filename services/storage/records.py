"""Predictions, attention maps and label versions that workers made: each is held against its volume and its bytes."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from services.core import classmaps
from services.core.arrayfile import ArrayFile
from services.core.classmaps import ClassMap
from services.core.ensemble import MAX_MODELS
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid, require_same
from services.core.names import parse
from services.core.rpc.convert import geometry_from_proto
from services.core.texts import require_text
from services.storage import volumes
from services.storage.attention import require_regions
from services.storage.blobs import Blobs, require_sha256
from services.storage.catalog.catalog import Catalog
from services.storage.collection import Collection
from services.storage.kinds import ATTENTION_MAPS, LABEL_VERSIONS, PREDICTIONS
from services.storage.provenance import require_source_map, uses


class Records:
    """The collections below a volume, and what must hold before something enters them. Methods block."""

    def __init__(self, catalog: Catalog, blobs: Blobs) -> None:
        self._catalog, self._blobs = catalog, blobs
        self.predictions = Collection(catalog, PREDICTIONS)
        self.attention_maps = Collection(catalog, ATTENTION_MAPS)
        self.label_versions = Collection(catalog, LABEL_VERSIONS)

    def create_prediction(self, request: pb.CreatePredictionRequest) -> pb.Prediction:
        """Raises GEOMETRY_MISMATCH unless the array lies on the volume's network grid."""
        volume_id, record = parse(request.parent, volumes.NAME, "parent")[0], request.prediction
        self.predictions.name(volume_id, request.prediction_id, "prediction_id")
        row = self._catalog.volume(volume_id)
        volume = volumes.message(row)
        parse(record.model.name, "models/*/versions/*", "prediction.model.name")
        require_sha256(record.model.weights_sha256, "prediction.model.weights_sha256")
        _require_organs(record.array.channels, classmaps.load(record.class_map), "prediction.array.channels")
        if record.voxel_digest != volume.voxel_digest:
            raise AtlasError(
                Reason.FIELD_INVALID, "The model saw other voxels than the volume has.", field="prediction.voxel_digest"
            )
        if not 0.1 <= record.grid.spacing_mm <= 10:
            raise AtlasError(
                Reason.FIELD_INVALID, "A grid of 0.1 to 10 mm is expected.", field="prediction.grid.spacing_mm"
            )
        grid = network_grid(volumes.geometry(row), record.grid.spacing_mm)
        with self._array(record.array, "prediction.array", grid, f"the network grid of {volume.name}"):
            pass
        return self.predictions.add(volume_id, request.prediction_id, record)

    def create_attention_map(self, request: pb.CreateAttentionMapRequest) -> pb.AttentionMap:
        """Raises GEOMETRY_MISMATCH unless the heat lies on the grid of all predictions that it was made of."""
        volume_id, record = parse(request.parent, volumes.NAME, "parent")[0], request.attention_map
        self.attention_maps.name(volume_id, request.attention_map_id, "attention_map_id")
        self._catalog.volume(volume_id)
        require_text(record.profile, "attention_map.profile", longest=64, required=True)
        if not record.predictions:
            raise AtlasError(Reason.FIELD_REQUIRED, "Predictions are required.", field="attention_map.predictions")
        field, grids = "attention_map.predictions", {}
        for name in record.predictions:
            grids[name] = geometry_from_proto(self.predictions.require_of(volume_id, name, field).array.geometry)
        first = record.predictions[0]
        for name, grid in grids.items():
            require_same(grid, grids[first], first_name=name, second_name=first)
        with self._array(record.heat, "attention_map.heat", grids[first], first):
            pass
        require_regions(record, grids[first])
        return self.attention_maps.add(volume_id, request.attention_map_id, record)

    def create_label_version(self, request: pb.CreateLabelVersionRequest) -> pb.LabelVersion:
        """Raises GEOMETRY_MISMATCH unless the masks lie on the CT's own grid, MASK_NOT_BINARY unless they are masks."""
        volume_id, record = parse(request.parent, volumes.NAME, "parent")[0], request.label_version
        self.label_versions.name(volume_id, request.label_version_id, "label_version_id")
        ct = volumes.geometry(self._catalog.volume(volume_id))
        _require_origin(record.origin, "label_version.origin")
        require_text(record.author, "label_version.author", required=True)
        class_map = classmaps.load(record.class_map)
        _require_organs(record.masks.channels, class_map, "label_version.masks.channels")
        if [organ.organ for organ in record.organs] != list(record.masks.channels):
            raise AtlasError(
                Reason.FIELD_INVALID,
                "Every channel of the masks needs its organ's entry, in the same order.",
                field="label_version.organs",
            )
        self._require_provenance(volume_id, record.organs)
        with self._array(record.masks, "label_version.masks", ct, f"volumes/{volume_id}") as masks:
            for organ in record.organs:
                _require_mask(masks, organ)
        if record.HasField("combined"):
            with self._array(record.combined, "label_version.combined", ct, f"volumes/{volume_id}") as combined:
                require_source_map(record, combined)
        if record.HasField("disagreement"):
            with self._array(record.disagreement, "label_version.disagreement", ct, f"volumes/{volume_id}"):
                pass
        rows = [*uses(record, cache(lambda name: self.predictions.get(name).model.name))]
        return self.label_versions.add(volume_id, request.label_version_id, record, uses=rows)

    def _require_provenance(self, volume_id: str, organs: Sequence[pb.OrganLabel]) -> None:
        versions = {name for organ in organs for name in (organ.label_version, *organ.readers)} - {""}
        for name in sorted(versions):
            self.label_versions.require_of(volume_id, name, "label_version.organs.label_version")
        for name in sorted({name for organ in organs for name in organ.predictions}):
            self.predictions.require_of(volume_id, name, "label_version.organs.predictions")
        for organ in organs:
            _require_origin(organ.origin, "label_version.organs.origin")
            _require_models(organ.models)

    @contextmanager
    def _array(self, message: ArrayRef, field: str, expected: Geometry, expected_name: str) -> Iterator[ArrayFile]:
        with self._blobs.array(message, field) as array:
            _require_dtype(array, field)
            require_same(array.geometry, expected, first_name=field, second_name=expected_name)
            yield array


def _require_mask(masks: ArrayFile, organ: pb.OrganLabel) -> None:
    """Raise MASK_NOT_BINARY or FIELD_INVALID unless a channel is the 0/1 mask that its organ's entry tells of."""
    voxels = 0
    for _, slab in masks.slabs(organ.organ):
        if slab.max() > 1:
            raise AtlasError(
                Reason.MASK_NOT_BINARY,
                f"The mask of {organ.organ} holds {slab.max()}.",
                field="label_version.masks",
                remedy="Record masks of 0 and 1.",
            )
        voxels += int(np.count_nonzero(slab))
    volume_mm3 = voxels * masks.geometry.voxel_volume_mm3
    if organ.voxels != voxels or not math.isclose(organ.volume_mm3, volume_mm3, rel_tol=1e-6):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The mask of {organ.organ} has {voxels} voxels of 1, {volume_mm3:.3f} mm³; its entry says otherwise.",
            field="label_version.organs",
            remedy="Count the mask that is recorded.",
        )


def _require_dtype(array: ArrayFile, field: str) -> None:
    if array.dtype.name != "uint8":
        raise AtlasError(Reason.FIELD_INVALID, f"uint8 is expected, not {array.dtype}.", field=f"{field}.dtype")


def _require_organs(channels: Sequence[str], class_map: ClassMap, field: str) -> None:
    class_map.require(tuple(channels), field=field)
    if len(set(channels)) != len(channels):
        raise AtlasError(Reason.FIELD_INVALID, "An organ comes twice.", field=field)


def _require_models(models: Sequence[pb.ModelRef]) -> None:
    field = "label_version.organs.models"
    if len(models) > MAX_MODELS:
        raise AtlasError(Reason.FIELD_INVALID, f"At most {MAX_MODELS} models are expected.", field=field)
    for model in models:
        parse(model.name, "models/*/versions/*", f"{field}.name")
        require_sha256(model.weights_sha256, f"{field}.weights_sha256")


def _require_origin(origin: int, field: str) -> None:
    if origin not in (pb.ORIGIN_SOURCE, pb.ORIGIN_REVISION, pb.ORIGIN_AI):
        raise AtlasError(Reason.FIELD_REQUIRED, "An origin is required.", field=field)
