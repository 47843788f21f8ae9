"""Whole cases: a CT and its source's labels enter the catalog together, or neither does."""

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.storage.catalog.catalog import Catalog
from services.storage.label_import import LabelImport, require_drawn_on, says_nothing
from services.storage.records import Records
from services.storage.volumes import Volumes


class Cases:
    """Takes cases into the catalog. Blocks."""

    def __init__(self, catalog: Catalog, volumes: Volumes, records: Records, label_import: LabelImport) -> None:
        self._catalog, self._volumes, self._records, self._import = catalog, volumes, records, label_import

    def run(self, request: pb.ImportCaseRequest) -> tuple[pb.Volume, pb.LabelVersion | None]:
        """Check both, then commit both in one transaction; the same request gives the same case.

        Labels of a dataset that says nothing of our organs are left out; others that say nothing are refused. Raises
        what `Volumes.create` and `LabelImport.run` raise; then the catalog is as it was.
        """
        volume, version = self._run(request)
        if version is not None:
            self._import.keep(request.labels.files)
        return volume, version

    def _run(self, request: pb.ImportCaseRequest) -> tuple[pb.Volume, pb.LabelVersion | None]:
        ct = pb.CreateVolumeRequest()
        ct.CopyFrom(request.volume)
        ct.volume_id = request.volume_id
        if not request.labels.files:
            return self._volumes.create(ct), None
        volume, rows = self._volumes.prepare(ct)
        labels = pb.ImportLabelVersionRequest()
        labels.CopyFrom(request.labels)
        labels.parent, labels.origin = volume.name, pb.ORIGIN_SOURCE
        require_drawn_on(volume, labels)
        version_id = self._import.id_of(labels)
        version = self._records.label_versions.find(request.volume_id, version_id)
        if version is None and (version := self._import.prepare(labels, volume)) is not None:
            row = self._records.label_versions.row(request.volume_id, version_id, version)
            if rows and self._catalog.add_all([*rows, row]):
                return volume, version
            # The volume was there, or came a moment ago; it is the same one, or this raises.
            volume = self._volumes.create(ct)
            return volume, self._records.label_versions.add(request.volume_id, version_id, version)
        if version is None and not labels.dataset_map:
            raise says_nothing()
        return self._volumes.create(ct), version
