"""Which of a volume's label versions still speak."""

from collections import defaultdict
from collections.abc import Sequence

from abdomenatlas.storage.v1.storage_pb2 import LabelVersion
from services.core import classmaps


def current(versions: Sequence[LabelVersion]) -> list[LabelVersion]:
    """`versions` without those that were read by an older version of a class map than others of the same author.

    An organ that the mended map no longer finds must not live on in what the mistaken one made, so such a version is
    left out as a whole.
    """
    newest: dict[tuple[str, str], int] = {}
    for version in versions:
        key = version.author, version.dataset_map
        newest[key] = max(newest.get(key, 0), version.dataset_map_version)
    return [v for v in versions if v.dataset_map_version == newest[v.author, v.dataset_map]]


def in_words_of(class_map: str, versions: Sequence[LabelVersion]) -> list[LabelVersion]:
    """`versions` without those that say in another class map what the same author said in this one too.

    Who imports files again by another class map adds a version. One that holds an organ of this map which the author
    said in no version of this map stays, for its labels would be lost without a word. Raises CLASS_MAP_MISMATCH if
    there is no such class map.
    """
    known = set(classmaps.load(class_map).organs)
    said: dict[tuple[str, str], set[str]] = defaultdict(set)
    for version in versions:
        if version.class_map == class_map:
            said[version.author, version.dataset_map] |= _organs(version)

    def is_said(version: LabelVersion) -> bool:
        author = version.author, version.dataset_map
        return author in said and _organs(version) & known <= said[author]

    return [version for version in versions if version.class_map == class_map or not is_said(version)]


def _organs(version: LabelVersion) -> set[str]:
    return {organ.organ for organ in version.organs}
