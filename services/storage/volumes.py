"""Volumes: a CT file is checked voxel by voxel before it enters the catalog."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.message import Message

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.fingerprint import tissue_mm3
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
from services.storage.duplicates import profile_of
from services.storage.duplicates import row as fingerprint_row

NAME = "volumes/*"
_TOLD = ("dataset", "source_id", "licence", "hospital", "phase")
"""What is told of a volume beside its file."""


class Volumes:
    """The CTs of the catalog. Methods block."""

    def __init__(self, catalog: Catalog, blobs: Blobs, cleaning: Cleaning, gate: MemoryGate) -> None:
        self._catalog, self._blobs, self._cleaning, self._gate = catalog, blobs, cleaning, gate

    def create(self, request: pb.CreateVolumeRequest) -> pb.Volume:
        """Read the file, check it and take it into the catalog, without the texts in its header.

        The same request gives the same volume.

        Raises RESOURCE_CONFLICT if the id is taken by something else, FIELD_INVALID if the file holds labels, and
        what `nifti.read_ct` raises.
        """
        volume, rows = self.prepare(request)
        if rows and not self._catalog.add_all(rows):
            volume, _ = self.prepare(request)
        return volume

    def prepare(self, request: pb.CreateVolumeRequest) -> tuple[pb.Volume, Sequence[tables.Base]]:
        """The volume, checked, and the rows that take it into the catalog: none if it is there already.

        Raises what `create` raises.
        """
        volume_id = require_id(request.volume_id, "volume_id")
        for field in _TOLD:
            require_text(getattr(request, field), field)
        uploaded = parse_object(request.object, "object")
        row = self._catalog.find_volume(volume_id)
        if row is None:
            volume, fingerprint = self._examine(volume_id, request.object)
            volume.uploaded_sha256 = uploaded
            for field in _TOLD:
                setattr(volume, field, getattr(request, field))
            return volume, [_row(volume_id, volume), fingerprint]
        stored = self._told([row])[0]
        # Volumes from before uploads were cleaned are the very files that came.
        is_same = (stored.uploaded_sha256 or stored.ct.sha256) == uploaded
        if not is_same or any(getattr(stored, field) != getattr(request, field) for field in _TOLD):
            raise _taken(stored, request)
        return stored, []

    def get(self, name: str) -> pb.Volume:
        """Raises NAME_INVALID or RESOURCE_NOT_FOUND."""
        return self._told([self._catalog.volume(parse(name, NAME, "name")[0], "name")])[0]

    def list(self, request: pb.ListVolumesRequest) -> pb.ListVolumesResponse:
        """A page of volumes by id."""
        filters = (request.dataset, request.show_withdrawn)
        page = Page.of(request.page_size, request.page_token, "ListVolumes", (str,), *filters)
        (after,) = page.after or ("",)
        found = self._catalog.volumes(
            dataset=request.dataset, after=after, limit=page.size + 1, withdrawn=request.show_withdrawn
        )
        rows, token = page.cut(found, lambda row: (row.id,))
        return pb.ListVolumesResponse(volumes=self._told(rows), next_page_token=token)

    def withdraw(self, request: pb.WithdrawVolumeRequest) -> pb.Volume:
        """Mark a volume as not to be used any more. The first mark stays. Raises RESOURCE_NOT_FOUND."""
        (volume_id,) = parse(request.name, NAME, "name")
        require_text(request.reason, "reason", longest=500, required=True)
        require_text(request.author, "author", required=True)
        self._catalog.volume(volume_id, "name")
        mark = pb.Withdrawal(reason=request.reason, author=request.author)
        mark.create_time.FromDatetime(datetime.now(UTC))
        self._catalog.add_all([tables.Withdrawal(volume_id=volume_id, record=_json(mark))])
        return self.get(request.name)

    def take_fingerprint(self) -> None:
        """Take the fingerprint of one volume that came before fingerprints were taken, if there is one."""
        row = self._catalog.volume_without_fingerprint()
        if row is None:
            return
        sha256 = message(row).ct.sha256
        with closing(self._blobs.open_buffered(sha256)) as file:
            header = nifti.read_header(file)
        with self._gate.hold(nifti.ct_bytes(header), what=f"volumes/{row.id}"):
            with closing(self._blobs.open_buffered(sha256)) as file:
                ct = nifti.read_ct(file)
            self._catalog.add_all([fingerprint_row(row.id, ct.voxels, ct.geometry)])

    def _told(self, rows: Sequence[tables.Volume]) -> Sequence[pb.Volume]:
        """The volumes of rows, with the marks of those that were withdrawn."""
        told, marks = [message(row) for row in rows], self._catalog.withdrawals([row.id for row in rows])
        for volume, row in zip(told, rows, strict=True):
            if row.id in marks:
                volume.withdrawal.CopyFrom(json_format.Parse(marks[row.id].record, pb.Withdrawal()))
        return told

    def _examine(self, volume_id: str, uploaded: str) -> tuple[pb.Volume, tables.Fingerprint]:
        name = f"volumes/{volume_id}"
        given = self._cleaning.current(uploaded, "object")
        try:
            with closing(self._blobs.open_buffered(given.sha256)) as file:
                header = nifti.read_header(file)
            header.require_one_grid()
            with self._gate.hold(nifti.ct_bytes(header), what=name):
                clean, removed = self._cleaning.clean(uploaded, "object")
                with closing(self._blobs.open_buffered(clean.sha256)) as file:
                    ct = nifti.read_ct(file)
                ct.require_no_labels()
                digest, fingerprint = ct.digest(), fingerprint_row(volume_id, ct.voxels, ct.geometry)
        except AtlasError as error:
            raise error.at(name) from error
        volume = pb.Volume(
            name=name,
            ct=clean,
            geometry=geometry_to_proto(ct.geometry),
            voxel_digest=digest,
            dtype=header.dtype.newbyteorder("=").name,
            min_hu=ct.min_hu,
            max_hu=ct.max_hu,
            notes=(*ct.notes, *((removed,) if removed else ())),
            tissue_mm3=tissue_mm3(profile_of(fingerprint)),
        )
        return volume, fingerprint


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
        record=_json(volume),
    )


def _json(record: Message) -> str:
    return json_format.MessageToJson(record, indent=None)


def _taken(stored: pb.Volume, request: pb.CreateVolumeRequest) -> AtlasError:
    """The refusal of an id that is somebody else's: it says whose."""
    whose = f"case {stored.source_id or 'without an id'} of {stored.dataset}" if stored.dataset else "of no dataset"
    if (stored.dataset, stored.source_id) == (request.dataset, request.source_id):
        whose += ", and the file or what is told of it differs"
    return AtlasError(
        Reason.RESOURCE_CONFLICT,
        f"{stored.name} is another file or was described otherwise: it is {whose}.",
        field="volume_id",
        remedy="Choose another id; what is in the catalog never changes.",
    )
