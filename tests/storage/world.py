"""The service without gRPC: a catalog in SQLite and objects in a folder, or where a test says."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.memory import MemoryGate
from services.storage.blobs import Blobs
from services.storage.cases import Cases
from services.storage.catalog import database
from services.storage.catalog.catalog import Catalog
from services.storage.claims import Claims
from services.storage.cleaning import Cleaning
from services.storage.duplicates import Duplicates
from services.storage.label_import import LabelImport
from services.storage.objects.filesystem import FilesystemObjects
from services.storage.objects.port import Objects
from services.storage.records import Records
from services.storage.volumes import Volumes
from tests.storage import files


class World:
    """What the servicer calls."""

    def __init__(
        self,
        folder: Path,
        memory_bytes: int = 2**30,
        *,
        gate: MemoryGate | None = None,
        catalog: Catalog | None = None,
        objects: Objects | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.catalog, gate = catalog or _catalog(folder), gate or MemoryGate(memory_bytes)
        self.objects = objects or FilesystemObjects(folder / "objects")
        self.claims = Claims(self.catalog, self.objects, now=now)
        self.blobs = Blobs(self.objects, gate, self.claims.hold)
        cleaning = Cleaning(self.catalog, self.blobs, self.claims)
        self.volumes = Volumes(self.catalog, self.blobs, cleaning, gate)
        self.records = Records(self.catalog, self.blobs)
        self.label_import = LabelImport(self.catalog, self.blobs, cleaning, self.records, gate)
        self.cases = Cases(self.catalog, self.volumes, self.records, self.label_import)
        self.duplicates = Duplicates(self.catalog)

    def volume(self, data: bytes | None = None, volume_id: str = "case", **fields: str) -> pb.Volume:
        """Take a CT file into the catalog."""
        name = self.blobs.put(files.ct() if data is None else data).name
        return self.volumes.create(pb.CreateVolumeRequest(volume_id=volume_id, object=name, **fields))

    def import_masks(self, *masks: tuple[str, bytes], parent: str = "volumes/case") -> pb.LabelVersion:
        """Import masks as a source label."""
        return self.import_files(
            *[(organ, data, f"{organ or 'combined_labels'}.nii.gz") for organ, data in masks], parent=parent
        )

    def import_files(
        self,
        *given: tuple[str, bytes, str],
        parent: str = "volumes/case",
        looked_for: tuple[str, ...] = (),
        origin: pb.Origin.ValueType = pb.ORIGIN_SOURCE,
        class_map: str = "abdomenatlas-1.0",
        author: str = "amos22",
        dataset_map: str = "",
        voxel_digest: str = "",
    ) -> pb.LabelVersion:
        """Import (organ, bytes, display name)."""
        return self.label_import.run(
            pb.ImportLabelVersionRequest(
                parent=parent,
                files=[
                    pb.LabelFile(object=self.blobs.put(data).name, organ=organ, display_name=name)
                    for organ, data, name in given
                ],
                looked_for=looked_for,
                origin=origin,
                class_map=class_map,
                author=author,
                dataset_map=dataset_map,
                voxel_digest=voxel_digest,
            )
        )

    def masks(self, version: pb.LabelVersion) -> dict[str, npt.NDArray[np.uint8]]:
        """Masks of a label version by organ."""
        with self.blobs.array(version.masks, "masks") as array:
            return {organ: array.channel(organ).astype(np.uint8) for organ in array.channels}


def _catalog(folder: Path) -> Catalog:
    engine = database.connect(f"sqlite:///{folder}/catalog.db")
    database.upgrade(engine)
    return Catalog(engine)
