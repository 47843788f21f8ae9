"""Sends a released case to storage: the CT, what was given of it, and the labels that were merged from that."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from services.cli.ingest.discover import Refusal, unreadable
from services.cli.ingest.importer import ENDS_THE_IMPORT, Imported, Watch
from services.cli.reimport.folder import REMEDY, ReleasedCase
from services.cli.reimport.provenance import Told, read_provenance
from services.cli.release.present import sha256
from services.core.arrayfile import Writer, decode
from services.core.errors import AtlasError, Reason
from services.core.geometry import require_same
from services.core.names import content_id
from services.core.nifti import read_labels, read_mask
from services.core.rpc.convert import array_ref, geometry_from_proto
from services.core.storage import Storage, found

Voxels = npt.NDArray[np.uint8]
_MAPS = ("combined_labels", "sources")
_SECONDS = 600


def import_released(storage: Storage, case: ReleasedCase, watch: Watch) -> Imported:
    """Take a case into storage as it was in the archive that released it; one that is there already stays as it is.

    Volume and label versions keep their names, and each mask its origin. What the release does not hold is left out:
    predictions, of which only the models are named; readers whose masks were brought together; and reviews. A case with
    a file that was altered, or that clashes with what is in storage, is refused. Raises DEPENDENCY_UNAVAILABLE if
    storage is gone.
    """
    at_work = case.ct
    try:
        for at_work, digest in case.digests:
            _require_unaltered(at_work, digest)
        at_work = case.ct.with_name("provenance.json")
        told = read_provenance(at_work)
        at_work = case.ct
        volume, duplicates = _volume(storage, case, told.volume, watch)
        labels = _Labels(storage, volume, case.ct.parent).restore(told)
    except AtlasError as error:
        if error.reason in ENDS_THE_IMPORT:
            raise
        return Imported(case, refusals=[Refusal(at_work, error)])
    except OSError as error:
        return Imported(case, refusals=[Refusal(at_work, unreadable(error))])
    return Imported(
        replace(case, volume_id=volume.name.removeprefix("volumes/")), volume, labels, duplicates=duplicates
    )


def _require_unaltered(path: Path, digest: str) -> None:
    if sha256(path) != digest:
        message = "It is not the file that was released."
        raise AtlasError(Reason.DIGEST_MISMATCH, message, remedy=REMEDY)


def _volume(
    storage: Storage, case: ReleasedCase, told: pb.Volume, watch: Watch
) -> tuple[pb.Volume, Sequence[pb.Duplicate]]:
    """The volume in storage. Raises RESOURCE_CONFLICT if its name is taken by something else."""
    stored = found(lambda: storage.rpc.GetVolume(pb.GetVolumeRequest(name=told.name)).volume)
    # The very file may have held texts, or no compression, when it came; its voxels are what counts.
    if stored and all(getattr(stored, f.name) == value for f, value in told.ListFields()):
        return stored, ()
    request = pb.CreateVolumeRequest(
        volume_id=told.name.removeprefix("volumes/"),
        object=storage.put_file(case.ct, watch(case.ct)).name,
        dataset=told.dataset,
        source_id=told.source_id,
        licence=told.licence,
        hospital=told.hospital,
        phase=told.phase,
    )
    created = storage.rpc.CreateVolume(request, timeout=_SECONDS)
    return created.volume, created.duplicates


def _require_told(stored: pb.LabelVersion, told: pb.LabelVersion) -> None:
    """Raises RESOURCE_CONFLICT if a version in storage is another than the one told of.

    Predictions, readers and models may differ: the archive that released it knows more of them than the release.
    """
    if _identity(stored) != _identity(told):
        raise AtlasError(
            Reason.RESOURCE_CONFLICT,
            "Storage has a label version of that name with other organs, or of another origin or author.",
            field=told.name,
            remedy="Import the release into the archive that it is from, or into one without this version.",
        )


def _identity(version: pb.LabelVersion) -> tuple[object, ...]:
    organs = [(organ.organ, organ.origin, organ.voxels) for organ in version.organs]
    return version.origin, version.author, version.class_map, organs


class _Labels:
    """The label versions of one case, whose masks lie in its folder."""

    def __init__(self, storage: Storage, volume: pb.Volume, folder: Path) -> None:
        self._storage, self._volume, self._folder = storage, volume, folder
        self._grid = geometry_from_proto(volume.geometry)

    def restore(self, told: Told) -> pb.LabelVersion:
        """The labels in storage, after what was given."""
        names = {version.name: self._given(version, told.labels).name for version in told.given}
        labels = pb.LabelVersion()
        labels.CopyFrom(told.labels)
        for organ in labels.organs:
            organ.label_version = names.get(organ.label_version, "")
            organ.ClearField("predictions")
            organ.ClearField("readers")
        for source in labels.sources:
            source.label_versions[:] = [names[name] for name in source.label_versions if name in names]
            source.ClearField("predictions")
        return self._create(labels, [name for name in _MAPS if (self._folder / f"{name}.nii.gz").is_file()])

    def _given(self, version: pb.LabelVersion, labels: pb.LabelVersion) -> pb.LabelVersion:
        """A source or revision version: of its masks the release holds those that went into the labels."""
        held = {organ.organ for organ in labels.organs if organ.label_version == version.name}
        organs = [organ for organ in version.organs if organ.organ in held]
        kept = pb.LabelVersion()
        kept.CopyFrom(version)
        if len(organs) < len(version.organs):
            kept.ClearField("organs")
            kept.organs.extend(organs)
            kept.name = f"{self._volume.name}/labels/{content_id('released', version.name, *sorted(held))}"
        return self._create(kept)

    def _create(self, version: pb.LabelVersion, maps: Sequence[str] = ()) -> pb.LabelVersion:
        rpc, name = self._storage.rpc, version.name
        if stored := found(lambda: rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version):
            _require_told(stored, version)
            return stored
        version.masks.CopyFrom(self._array([organ.organ for organ in version.organs], self._mask))
        if maps:
            version.combined.CopyFrom(self._array(maps, self._map))
        request = pb.CreateLabelVersionRequest(
            parent=self._volume.name, label_version_id=name.rsplit("/", 1)[1], label_version=version
        )
        return rpc.CreateLabelVersion(request, timeout=_SECONDS).label_version

    def _array(self, channels: Sequence[str], read: Callable[[str], Voxels]) -> ArrayRef:
        """An array file of the channels in storage; one of them is in memory at a time."""
        writer = Writer(channels, "uint8", self._grid)
        for channel in channels:
            writer.write(channel, read(channel))
        data = writer.finish()
        return array_ref(self._storage.put(data), decode(data))

    def _mask(self, organ: str) -> Voxels:
        mask = read_mask(self._folder / "segmentations" / f"{organ}.nii.gz")
        require_same(mask.geometry, self._grid, first_name=organ, second_name=self._volume.name)
        return mask.voxels

    def _map(self, name: str) -> Voxels:
        labels = read_labels(self._folder / f"{name}.nii.gz")
        require_same(labels.geometry, self._grid, first_name=name, second_name=self._volume.name)
        return labels.voxels.astype(np.uint8, copy=False)
