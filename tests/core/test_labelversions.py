"""Which label versions of a volume still speak."""

from abdomenatlas.storage.v1.storage_pb2 import LabelVersion
from services.core.labelversions import current


def version(name: str, author: str = "", dataset_map: str = "", map_version: int = 0) -> LabelVersion:
    return LabelVersion(name=name, author=author, dataset_map=dataset_map, dataset_map_version=map_version)


def names(*versions: LabelVersion) -> list[str]:
    return [found.name for found in current(versions)]


def test_what_a_mended_map_made_replaces_what_the_mistaken_one_made() -> None:
    """By the version of the map, not by the order in which they came; one from before versions were kept is oldest."""
    before = version("a", "lits", "lits")
    assert names(before, version("b", "lits", "lits", 2), version("c", "lits", "lits", 1)) == ["b"]


def test_all_others_stay() -> None:
    """Another author, another map, and files that spoke no dataset's map."""
    others = (version("a", "lits", "lits", 1), version("b", "clinic", "lits", 2), version("c", "lits", "msd-liver", 2))
    assert names(*others, version("d", "lits"), version("e", "lits")) == ["a", "b", "c", "d", "e"]
