"""Which of a volume's label versions still speak."""

from collections.abc import Sequence

from abdomenatlas.storage.v1.storage_pb2 import LabelVersion


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

    Who imports files again by another class map adds a version. Where there is none in this one, the others stay.
    """
    speaks = {(version.author, version.dataset_map) for version in versions if version.class_map == class_map}
    return [v for v in versions if v.class_map == class_map or (v.author, v.dataset_map) not in speaks]
