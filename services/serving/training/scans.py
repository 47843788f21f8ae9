"""Which volumes of storage show one scan, so that no copy of what is held out is trained on."""

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.storage import Storage

_PAGE = 1000


class Scans:
    """The scans of a storage as it is now."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._firsts: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        request = pb.ListDuplicateGroupsRequest(page_size=_PAGE, show_withdrawn=True)
        while True:
            page = storage.rpc.ListDuplicateGroups(request)
            for group in page.groups:
                self._firsts |= dict.fromkeys(group.volumes, self._first(group))
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def digest(self, volume: pb.Volume) -> str:
        """Voxel digest of the first volume that shows this scan: equal for all copies.

        A later copy changes it in one case: it shows that what passed for two scans is one. Then the first of both
        counts for all.
        """
        first = self._firsts.get(volume.name, volume.name)
        if first == volume.name:
            return volume.voxel_digest
        if first not in self._digests:
            self._digests[first] = self._volume(first).voxel_digest
        return self._digests[first]

    def _first(self, group: pb.DuplicateGroup) -> str:
        """The one that entered the catalog first. Withdrawn ones count, or a withdrawal would draw the lot again."""
        later = {pair.second for pair in group.pairs}
        candidates = [name for name in group.volumes if name not in later]
        if len(candidates) == 1:
            return candidates[0]
        return min(candidates, key=lambda name: (self._volume(name).create_time.ToNanoseconds(), name))

    def _volume(self, name: str) -> pb.Volume:
        return self._storage.rpc.GetVolume(pb.GetVolumeRequest(name=name)).volume
