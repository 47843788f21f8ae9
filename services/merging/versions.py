"""The source and revision label versions that go into a merge: fetched from the catalog and checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, require_same
from services.core.names import parse
from services.core.rpc.convert import geometry_from_proto
from services.core.storage import Storage
from services.merging.precedence import Given, Origin

MAX_VERSIONS = 64


@dataclass(frozen=True)
class GivenVersion:
    """A label version as the merge sees it, with its record."""

    given: Given
    record: pb.LabelVersion


def find(storage: Storage, volume: pb.Volume, ct: Geometry, names: Sequence[str]) -> dict[str, GivenVersion]:
    """The label versions by name, in their order. Nothing is read but their records.

    Raises NAME_INVALID or FIELD_INVALID (a name twice, another volume's version, a merged version),
    RESOURCE_NOT_FOUND, GEOMETRY_MISMATCH, CLASS_MAP_MISMATCH or ORGAN_UNKNOWN.
    """
    _require_names(names, volume.name)
    versions: dict[str, GivenVersion] = {}
    for index, name in enumerate(names):
        record = storage.rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version
        field = f"label_versions[{index}]"
        if record.origin not in (pb.ORIGIN_SOURCE, pb.ORIGIN_REVISION):
            raise _invalid(field, f"{name} is a merged version.", "Name source and revision versions only.")
        geometry = geometry_from_proto(record.masks.geometry, f"{field}.masks.geometry")
        require_same(geometry, ct, first_name=name, second_name=volume.name)
        organs = tuple(record.masks.channels)
        classmaps.load(record.class_map).require(organs, field=field)
        versions[name] = GivenVersion(Given(name, Origin(record.origin), organs, record.author), record)
    return versions


def _require_names(names: Sequence[str], volume: str) -> None:
    if len(names) > MAX_VERSIONS:
        raise _invalid("label_versions", f"{len(names)} label versions are given.", f"Name at most {MAX_VERSIONS}.")
    for index, name in enumerate(names):
        field = f"label_versions[{index}]"
        if f"volumes/{parse(name, 'volumes/*/labels/*', field)[0]}" != volume:
            raise _invalid(field, f"{name} is not a label version of {volume}.", "Name versions of that volume only.")
        if name in names[:index]:
            raise _invalid(field, f"{name} is named twice.", "Name every label version once.")


def _invalid(field: str, message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=field, remedy=remedy)
