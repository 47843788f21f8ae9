"""Volumes that show the same scan: found when a volume comes in, kept for those who split a release."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format
from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import fingerprint
from services.core.geometry import Geometry
from services.core.rpc.paging import Page
from services.storage.catalog.catalog import Catalog
from services.storage.catalog.tables import DuplicatePair, Fingerprint, Volume, Withdrawal


def row(volume_id: str, voxels: npt.NDArray[np.int16], geometry: Geometry) -> Fingerprint:
    """The fingerprint of a CT, voxels (k, j, i) in HU, to be stored with its volume."""
    return Fingerprint(
        volume_id=volume_id,
        canonical_digest=fingerprint.canonical_digest(voxels, geometry),
        profile=fingerprint.profile(voxels, geometry).astype("<f4").tobytes(),
        floor_mm=float(geometry.corners_mm()[:, 2].min()),
        is_compared=False,
    )


def profile_of(found: Fingerprint) -> fingerprint.Profile:
    """The profile in a stored fingerprint."""
    tissues = len(fingerprint.KNOTS_HU) - 1
    return np.frombuffer(found.profile, "<f4").astype(np.float32).reshape(-1, tissues)


class Duplicates:
    """Compares volumes and remembers what it found. Methods block.

    Profiles, about 4 kB a volume, stay in memory once they were read. A volume is compared with all others that are
    in the catalog after it is there itself; so of any two that come in at once, at least one finds the other.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> list[pb.Duplicate]:
        """The pairs that "volumes/{volume}" is one of, with others that were not withdrawn."""
        volume_id = name.removeprefix("volumes/")
        self._catch_up()
        mine = or_(DuplicatePair.first == volume_id, DuplicatePair.second == volume_id)
        gone = select(Withdrawal.volume_id).where(Withdrawal.volume_id != volume_id)
        mine &= DuplicatePair.first.not_in(gone) & DuplicatePair.second.not_in(gone)
        with self._catalog.reading() as session:
            return _messages(session.scalars(select(DuplicatePair).where(mine).order_by(DuplicatePair.sequence)))

    def groups(self, request: pb.ListDuplicateGroupsRequest) -> pb.ListDuplicateGroupsResponse:
        """A page of the groups of all volumes that are connected by pairs, by their first volume's id."""
        page = Page.of(request.page_size, request.page_token, "ListDuplicateGroups", (str,), request.show_withdrawn)
        (after,) = page.after or ("",)
        self._catch_up()
        with self._catalog.reading() as session:
            pairs = _messages(session.scalars(select(DuplicatePair).order_by(DuplicatePair.sequence)))
            gone = set() if request.show_withdrawn else set(session.scalars(select(Withdrawal.volume_id)))
        found = without(grouped(pairs), {f"volumes/{volume_id}" for volume_id in gone})
        groups = [group for group in found if group.volumes[0] > after][: page.size + 1]
        shown, token = page.cut(groups, lambda group: (group.volumes[0],))
        return pb.ListDuplicateGroupsResponse(groups=shown, next_page_token=token)

    def _catch_up(self) -> None:
        """Compare the volumes that nobody compared yet: the newest, and those whose process was killed."""
        with self._lock:
            with self._catalog.reading() as session:
                waiting = session.scalars(select(Fingerprint.volume_id).where(~Fingerprint.is_compared)).all()
            if waiting:
                self._learn()
            for volume_id in waiting:
                self._compare(volume_id)

    def _learn(self) -> None:
        """Read the fingerprints that are new in the catalog."""
        with self._catalog.reading() as session:
            new = [id_ for id_ in session.scalars(select(Fingerprint.volume_id)) if id_ not in self._known]
            for start in range(0, len(new), 500):
                chosen = select(Fingerprint).where(Fingerprint.volume_id.in_(new[start : start + 500]))
                for found in session.scalars(chosen):
                    profile = profile_of(found)
                    known = _Known(found.canonical_digest, profile, fingerprint.sums(profile), found.floor_mm)
                    self._known[found.volume_id] = known

    def _compare(self, volume_id: str) -> None:
        mine = self._known[volume_id]
        sought = fingerprint.Sought.of(mine.profile)
        others = [(id_, known) for id_, known in self._known.items() if id_ != volume_id]
        pairs = [_pair(id_, known, volume_id, mine, sought) for id_, known in others]
        self._record(volume_id, [pair for pair in pairs if pair])

    def _record(self, volume_id: str, pairs: list[pb.Duplicate]) -> None:
        """Keep the pairs of a volume, the older one first, and that it was compared."""
        with self._catalog.reading() as session:
            ages = {
                id_: session.get_one(Volume, id_).create_time for pair in pairs for id_ in (pair.first, pair.second)
            }
        for pair in pairs:
            if (ages[pair.first], pair.first) > (ages[pair.second], pair.second):
                pair.first, pair.second = pair.second, pair.first
                pair.header_offset_mm = -pair.header_offset_mm
        try:
            with self._catalog.writing() as session:
                for pair in pairs:
                    names = (DuplicatePair.first == pair.first, DuplicatePair.second == pair.second)
                    if session.scalar(select(DuplicatePair.sequence).where(*names)) is None:
                        session.add(DuplicatePair(first=pair.first, second=pair.second, record=_json(pair)))
                mine = update(Fingerprint).where(Fingerprint.volume_id == volume_id)
                session.execute(mine.values(is_compared=True))
        except IntegrityError:  # another process found the same pair a moment ago; the next call ends this one
            return


@dataclass(frozen=True)
class _Known:
    """One volume's fingerprint, ready for comparison. `floor_mm` is where its header says that it begins below."""

    digest: str
    profile: fingerprint.Profile
    sums: npt.NDArray[np.float64]
    floor_mm: float


def _pair(first: str, one: _Known, second: str, two: _Known, sought: fingerprint.Sought) -> pb.Duplicate | None:
    """What makes two volumes one scan, if anything; `sought` is the second's profile."""
    apart = two.floor_mm - one.floor_mm
    if one.digest == two.digest:
        length, kind = len(one.profile) * fingerprint.STEP_MM, pb.Duplicate.KIND_EXACT
        return pb.Duplicate(first=first, second=second, kind=kind, overlap_mm=length, header_offset_mm=apart)
    match = sought.within(one.profile, one.sums)
    if match is None:
        return None
    return pb.Duplicate(
        first=first,
        second=second,
        kind=pb.Duplicate.KIND_NEAR,
        difference=match.difference,
        overlap_mm=match.overlap_mm,
        # Of a volume that stands on its head nobody can say how far off it is.
        header_offset_mm=0.0 if match.is_reversed else apart - match.offset_mm,
        is_reversed=match.is_reversed,
    )


def grouped(pairs: Sequence[pb.Duplicate]) -> list[pb.DuplicateGroup]:
    """Pairs by the groups that they connect, by their first volume."""
    group_of: dict[str, set[str]] = {}
    for pair in pairs:
        joined = group_of.get(pair.first, {pair.first}) | group_of.get(pair.second, {pair.second})
        group_of.update(dict.fromkeys(joined, joined))
    distinct = {min(group): group for group in group_of.values()}
    return [
        pb.DuplicateGroup(volumes=sorted(group), pairs=[pair for pair in pairs if pair.first in group])
        for _, group in sorted(distinct.items())
    ]


def without(groups: Iterable[pb.DuplicateGroup], volumes: set[str]) -> list[pb.DuplicateGroup]:
    """The groups without some volumes, by their first one; two that only such a volume connects stay together."""
    left = (
        pb.DuplicateGroup(
            volumes=[name for name in group.volumes if name not in volumes],
            pairs=[pair for pair in group.pairs if not {pair.first, pair.second} & volumes],
        )
        for group in groups
    )
    return sorted((group for group in left if len(group.volumes) > 1), key=lambda group: group.volumes[0])


def _json(pair: pb.Duplicate) -> str:
    return json_format.MessageToJson(pair, indent=None)


def _messages(rows: Iterable[DuplicatePair]) -> list[pb.Duplicate]:
    """The pairs of rows, with names for ids."""
    pairs = [json_format.Parse(found.record, pb.Duplicate()) for found in rows]
    for pair in pairs:
        pair.first, pair.second = f"volumes/{pair.first}", f"volumes/{pair.second}"
    return pairs
