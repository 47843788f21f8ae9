"""Cases from storage: CTs with what people labelled in them, organ by organ."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.geometry import require_same
from services.core.labelversions import current
from services.core.names import content_id
from services.core.nifti import read_ct
from services.core.rpc.convert import geometry_from_proto
from services.core.storage import Storage
from services.serving.card import Card
from services.serving.training.cache import Entry
from services.serving.training.case import Case, working_case
from services.serving.training.scans import Scans

_RULES = "1"
"""Version of how a stored volume becomes a case. Raise it when the same records give other voxels."""
_PAGE = 1000


@dataclass(frozen=True)
class Labelled:
    """A volume of which people labelled something: `versions` name the label version that each organ is taken from."""

    volume: pb.Volume
    versions: dict[str, pb.LabelVersion]
    revised: frozenset[str]
    """Organs whose mask is a revision's."""
    scan: str
    """What the volume shows: equal for copies, moved, cropped or compressed (`Scans.digest`)."""

    def is_held_out(self, share: float) -> bool:
        """Whether nothing may be trained on it. Follows from the scan alone, so it is the same in every round and for
        every model, and for every copy. It may change where a later copy joins two scans (`Scans.digest`): earlier
        versions may then have been trained on what is held out now."""
        return int(content_id("held out", self.scan)[:8], 16) < share * 2**32


def labelled(storage: Storage, card: Card, volumes: Iterable[str] | None = None) -> Iterator[Labelled]:
    """The volumes (all if None) in which people labelled organs of the card; withdrawn ones are left out.

    What the networks predicted is no truth: an organ that only they labelled stays unknown. Of several labels of one
    organ the source goes before a revision, as in merges. Of sources the newest counts, of revisions the one that the
    newest merge took. Organs mean the same in every class map.
    """
    scans = Scans(storage)
    for volume in _all(storage) if volumes is None else (_one(storage, name) for name in volumes):
        if volume.HasField("withdrawal"):
            continue
        versions = _decided(storage, volume.name)
        for version in sorted(current(_versions(storage, volume.name, pb.ORIGIN_SOURCE)), key=_created):
            versions |= {organ.organ: version for organ in version.organs}
        versions = {organ: version for organ, version in versions.items() if organ in card.organs}
        if versions:
            revised = {organ for organ, version in versions.items() if version.origin == pb.ORIGIN_REVISION}
            yield Labelled(volume, versions, frozenset(revised), scans.digest(volume))


def _decided(storage: Storage, volume: str) -> dict[str, pb.LabelVersion]:
    """Per organ the revision that the newest merge which took one took; of readers brought together the newest.

    A revision that no merge took is a side version, which no review decided on, and is left out. The same merge made
    again keeps its first time, so where decisions went back and forth to it, the one in between counts as the newest.
    """
    revisions = {version.name: version for version in _versions(storage, volume, pb.ORIGIN_REVISION)}
    if not revisions:
        return {}
    taken: dict[str, pb.LabelVersion] = {}
    for merged in sorted(_versions(storage, volume, pb.ORIGIN_AI), key=_created):
        for organ in merged.organs:
            names = revisions.keys() & {organ.label_version, *organ.readers}
            if names:
                taken[organ.organ] = max((revisions[name] for name in names), key=_created)
    return taken


def _created(version: pb.LabelVersion) -> int:
    return version.create_time.ToNanoseconds()


def entry(storage: Storage, card: Card, case: Labelled) -> Entry:
    """The case as the card's network sees it."""
    sources = sorted((organ, version.name) for organ, version in case.versions.items())
    grid = f"{card.grid_spacing_mm} {card.working_factors} {card.hu_window}"
    key = content_id(_RULES, case.volume.voxel_digest, case.volume.geometry.digest, grid, str(sources))
    return Entry(key, tuple(case.versions), partial(_fetch, storage, card, case))


def _fetch(storage: Storage, card: Card, case: Labelled) -> Case:
    name, geometry = case.volume.name, geometry_from_proto(case.volume.geometry)
    ct = read_ct(storage.get(case.volume.ct))
    require_same(ct.geometry, geometry, first_name=f"the file of {name}", second_name="its record")
    masks = {}
    for version in {version.name: version for version in case.versions.values()}.values():
        array = storage.array(version.masks)
        require_same(array.geometry, geometry, first_name=version.name, second_name=name)
        for organ, taken in case.versions.items():
            if taken.name == version.name:
                masks[organ] = np.asarray(array.channel(organ), np.bool_)
    return working_case(name, ct.voxels, geometry, {organ: masks[organ] for organ in case.versions}, card)


def _one(storage: Storage, name: str) -> pb.Volume:
    return storage.rpc.GetVolume(pb.GetVolumeRequest(name=name)).volume


def _all(storage: Storage) -> Iterator[pb.Volume]:
    request = pb.ListVolumesRequest(page_size=_PAGE)
    while True:
        page = storage.rpc.ListVolumes(request)
        yield from page.volumes
        if not (token := page.next_page_token):
            return
        request.page_token = token


def _versions(storage: Storage, volume: str, origin: "pb.Origin.ValueType") -> Sequence[pb.LabelVersion]:
    request = pb.ListLabelVersionsRequest(parent=volume, page_size=_PAGE, origin=origin)
    found: list[pb.LabelVersion] = []
    while True:
        page = storage.rpc.ListLabelVersions(request)
        found.extend(page.label_versions)
        if not (token := page.next_page_token):
            return found
        request.page_token = token
