"""Volumes: a CT file is checked voxel by voxel before it enters the catalog."""

from contextlib import closing
from datetime import UTC, datetime

from google.protobuf import json_format

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.names import parse, require_id
from services.core.rpc.convert import geometry_from_proto, geometry_to_proto
from services.core.rpc.paging import Page
from services.core.texts import require_text
from services.storage.blobs import Blobs
from services.storage.blobs import parse_name as parse_object
from services.storage.catalog import tables
from services.storage.catalog.catalog import Catalog
from services.storage.cleaning import Cleaning

NAME = "volumes/*"


class Volumes:
    """The CTs of the catalog. Methods block."""

    def __init__(self, catalog: Catalog, blobs: Blobs, gate: MemoryGate) -> None:
        self._catalog, self._blobs, self._gate = catalog, blobs, gate
        self._cleaning = Cleaning(catalog, blobs)

    def create(self, request: pb.CreateVolumeRequest) -> pb.Volume:
        """Read the file, check it and take it into the catalog, without the texts in its header.

        The same request gives the same volume.

        Raises RESOURCE_CONFLICT if the id is taken by something else, and what `nifti.read_ct` raises.
        """
        volume_id = require_id(request.volume_id, "volume_id")
        for field in ("dataset", "source_id", "licence"):
            require_text(getattr(request, field), field)
        uploaded = parse_object(request.object, "object")
        row = self._catalog.find_volume(volume_id)
        if row is None:
            volume = self._examine(f"volumes/{volume_id}", request.object)
            volume.uploaded_sha256 = uploaded
            volume.dataset, volume.source_id, volume.licence = request.dataset, request.source_id, request.licence
            row = self._catalog.add_volume(_row(volume_id, volume))
        stored = message(row)
        asked = (uploaded, request.dataset, request.source_id, request.licence)
        # Volumes from before uploads were cleaned are the very files that came.
        came = stored.uploaded_sha256 or stored.ct.sha256
        if (came, stored.dataset, stored.source_id, stored.licence) != asked:
            raise AtlasError(
                Reason.RESOURCE_CONFLICT,
                f"volumes/{volume_id} is another file or was described otherwise.",
                field="volume_id",
                remedy="Choose another id; what is in the catalog never changes.",
            )
        return stored

    def get(self, name: str) -> pb.Volume:
        """Raises NAME_INVALID or RESOURCE_NOT_FOUND."""
        return message(self._catalog.volume(parse(name, NAME, "name")[0]))

    def list(self, request: pb.ListVolumesRequest) -> pb.ListVolumesResponse:
        """A page of volumes by id."""
        page = Page.of(request.page_size, request.page_token, "ListVolumes", (str,), request.dataset)
        (after,) = page.after or ("",)
        found = self._catalog.volumes(dataset=request.dataset, after=after, limit=page.size + 1)
        rows, token = page.cut(found, lambda row: (row.id,))
        return pb.ListVolumesResponse(volumes=map(message, rows), next_page_token=token)

    def _examine(self, name: str, uploaded: str) -> pb.Volume:
        given = self._cleaning.current(uploaded, "object")
        try:
            with closing(self._blobs.open_buffered(given.sha256)) as file:
                header = nifti.read_header(file)
            with self._gate.hold(nifti.ct_bytes(header), what=name):
                clean, removed = self._cleaning.clean(uploaded, "object")
                with closing(self._blobs.open_buffered(clean.sha256)) as file:
                    ct = nifti.read_ct(file)
                digest = ct.digest()
        except AtlasError as error:
            raise error.at(name) from error
        return pb.Volume(
            name=name,
            ct=clean,
            geometry=geometry_to_proto(ct.geometry),
            voxel_digest=digest,
            dtype=header.dtype.newbyteorder("=").name,
            min_hu=ct.min_hu,
            max_hu=ct.max_hu,
            notes=(*ct.notes, *((removed,) if removed else ())),
        )


def message(row: tables.Volume) -> pb.Volume:
    """The volume of a row."""
    return json_format.Parse(row.record, pb.Volume())


def geometry(row: tables.Volume) -> Geometry:
    """The CT's own grid."""
    return geometry_from_proto(message(row).geometry)


def _row(volume_id: str, volume: pb.Volume) -> tables.Volume:
    now = datetime.now(UTC)
    volume.create_time.FromDatetime(now)
    return tables.Volume(
        id=volume_id,
        dataset=volume.dataset,
        object_sha256=volume.ct.sha256,
        geometry_digest=volume.geometry.digest,
        voxel_digest=volume.voxel_digest,
        create_time=now,
        record=json_format.MessageToJson(volume, indent=None),
    )
