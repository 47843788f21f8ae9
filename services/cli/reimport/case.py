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
from services.core import classmaps
from services.core.arrayfile import Writer, decode
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, require_same
from services.core.names import content_id
from services.core.nifti import read_header, read_labels, read_mask
from services.core.rpc.convert import array_ref
from services.core.storage import Storage, found

Voxels = npt.NDArray[np.uint8]
_MAPS = ("combined_labels", "sources")
_SECONDS = 600


def import_released(storage: Storage, case: ReleasedCase, watch: Watch) -> Imported:
    """Take a case into storage as it was in the archive that released it; one that is there already stays as it is.

    Volume and label versions keep their names, and each mask its origin. What the release does not hold is left out:
    predictions, of which only the models are named; readers whose masks were brought together, with the maps of where
    they disagree and the numbers of such voxels; what neighbours took from a revision; and reviews. A case with a file
    that was altered, or that clashes with what is in storage, is refused before anything of it is committed.
    Where a process is killed in between, importing again completes it. Raises DEPENDENCY_UNAVAILABLE if storage is
    gone.
    """
    at_work = case.ct
    try:
        for at_work, digest in case.digests:
            _require_unaltered(at_work, digest)
        at_work = case.ct.with_name("provenance.json")
        told = read_provenance(at_work)
        at_work = case.ct
        # A volume whose name is taken comes back as it is, or clashes; a new one waits until its labels are sure.
        is_there = found(lambda: storage.rpc.GetVolume(pb.GetVolumeRequest(name=told.volume.name))) is not None
        known = _volume(storage, case, told.volume, watch) if is_there else None
        labels = _Labels(storage, told.volume.name, read_header(case.ct).geometry, case.ct.parent)
        try:
            versions = labels.prepared(told)
        except (AtlasError, OSError):
            at_work = labels.at_work
            raise
        at_work = case.ct
        volume, duplicates = known or _volume(storage, case, told.volume, watch)
        restored = labels.commit(versions)
    except AtlasError as error:
        if error.reason in ENDS_THE_IMPORT:
            raise
        return Imported(case, refusals=[Refusal(at_work, error)])
    except OSError as error:
        return Imported(case, refusals=[Refusal(at_work, unreadable(error))])
    return Imported(
        replace(case, volume_id=volume.name.removeprefix("volumes/")), volume, restored, duplicates=duplicates
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


def _require_counted(organ: pb.OrganLabel, mask: Voxels) -> None:
    """Raise FIELD_INVALID if an organ's mask, 0/1, is not the one that the record tells of."""
    if organ.voxels != (count := int(np.count_nonzero(mask))):
        message = f"It has {count} voxels, and {organ.voxels} in the case's provenance.json."
        raise AtlasError(Reason.FIELD_INVALID, message, field="records.organs.voxels", remedy=REMEDY)


class _Labels:
    """The label versions of one case, whose masks lie in its folder on the grid of its CT.

    `at_work` is the file that was read last.
    """

    def __init__(self, storage: Storage, volume: str, grid: Geometry, folder: Path) -> None:
        self._storage, self._volume, self._grid, self._folder = storage, volume, grid, folder
        self.at_work = folder / "provenance.json"

    def prepared(self, told: Told) -> list[pb.LabelVersion]:
        """The versions as they will be, what was given first and the labels last; their arrays are in storage.

        Of labels that storage has nothing else is looked at: what was given was there before them. Raises what is wrong
        with any of them.
        """
        if stored := self._stored(told.labels):
            return [stored]
        given = {version.name: self._given(version, told.labels) for version in told.given}
        names = {name: version.name for name, version in given.items()}
        labels = pb.LabelVersion()
        labels.CopyFrom(told.labels)
        for organ in labels.organs:
            organ.label_version = names.get(organ.label_version, "")
            organ.ClearField("predictions")
            organ.ClearField("readers")
            organ.ClearField("disputed_voxels")
        for source in labels.sources:
            source.label_versions[:] = [names[name] for name in source.label_versions if name in names]
            source.ClearField("predictions")
        maps = [name for name in _MAPS if (self._folder / f"{name}.nii.gz").is_file()]
        return [*(self._prepare(version) for version in given.values()), self._prepare(labels, maps)]

    def commit(self, versions: Sequence[pb.LabelVersion]) -> pb.LabelVersion:
        """Create those that are not in storage yet; the last one as it is there."""
        for version in versions:
            if not version.HasField("create_time"):
                request = pb.CreateLabelVersionRequest(
                    parent=self._volume, label_version_id=version.name.rsplit("/", 1)[1], label_version=version
                )
                version = self._storage.rpc.CreateLabelVersion(request, timeout=_SECONDS).label_version
        return version

    def _given(self, version: pb.LabelVersion, labels: pb.LabelVersion) -> pb.LabelVersion:
        """A source or revision version: of its masks the release holds those that went into the labels, as they did.

        Without an organ, or with one from which a neighbour took voxels, it is another version, with an id of its own.
        """
        held = {organ.organ: organ for organ in labels.organs if organ.label_version == version.name}
        kept = pb.LabelVersion()
        kept.CopyFrom(version)
        kept.ClearField("organs")
        kept.organs.extend(organ for organ in version.organs if organ.organ in held)
        changed = False
        for organ in kept.organs:
            released = held[organ.organ]
            if released.changes and organ.voxels != released.voxels:
                organ.voxels, organ.volume_mm3 = released.voxels, released.volume_mm3
                changed = True
        if changed or len(kept.organs) < len(version.organs):
            made_of = [version.name, *sorted(held), *([labels.name] if changed else [])]
            kept.name = f"{self._volume}/labels/{content_id('released', *made_of)}"
        return kept

    def _stored(self, version: pb.LabelVersion) -> pb.LabelVersion | None:
        """The version of that name in storage, if there is one. Raises RESOURCE_CONFLICT if it is another one."""
        rpc, name = self._storage.rpc, version.name
        stored = found(lambda: rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version)
        if stored:
            _require_told(stored, version)
        return stored

    def _prepare(self, version: pb.LabelVersion, maps: Sequence[str] = ()) -> pb.LabelVersion:
        if stored := self._stored(version):
            return stored
        organs = {organ.organ: organ for organ in version.organs}

        def counted(name: str) -> Voxels:
            mask = self._mask(name)
            _require_counted(organs[name], mask)
            return mask

        self.at_work = self._folder / "provenance.json"
        classmaps.load(version.class_map).require([*organs], field="records.organs")
        version.ClearField("create_time")
        version.masks.CopyFrom(self._array([*organs], counted))
        if maps:
            version.combined.CopyFrom(self._array(maps, self._map))
        return version

    def _array(self, channels: Sequence[str], read: Callable[[str], Voxels]) -> ArrayRef:
        """An array file of the channels in storage; one of them is in memory at a time."""
        writer = Writer(channels, "uint8", self._grid)
        for channel in channels:
            writer.write(channel, read(channel))
        data = writer.finish()
        return array_ref(self._storage.put(data), decode(data))

    def _mask(self, organ: str) -> Voxels:
        self.at_work = self._folder / "segmentations" / f"{organ}.nii.gz"
        mask = read_mask(self.at_work)
        require_same(mask.geometry, self._grid, first_name=organ, second_name=self._volume)
        return mask.voxels

    def _map(self, name: str) -> Voxels:
        self.at_work = self._folder / f"{name}.nii.gz"
        labels = read_labels(self.at_work)
        require_same(labels.geometry, self._grid, first_name=name, second_name=self._volume)
        return labels.voxels.astype(np.uint8, copy=False)
