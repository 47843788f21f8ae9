"""Which label versions of a volume still speak."""

from collections.abc import Sequence

from abdomenatlas.storage.v1.storage_pb2 import LabelVersion, OrganLabel
from services.core.labelversions import current, in_words_of

NINE, MORE = "abdomenatlas-1.0", "abdomenatlas-1.1"


def version(
    name: str,
    author: str = "",
    dataset_map: str = "",
    map_version: int = 0,
    class_map: str = NINE,
    organs: Sequence[str] = ("liver",),
) -> LabelVersion:
    return LabelVersion(
        name=name,
        author=author,
        dataset_map=dataset_map,
        dataset_map_version=map_version,
        class_map=class_map,
        organs=[OrganLabel(organ=organ) for organ in organs],
    )


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


def test_of_two_class_maps_that_an_author_used_the_one_asked_for_speaks() -> None:
    """Another author or dataset who used another class map alone is not silenced: a merge has to refuse it."""
    nine, more = version("a", "amos", "amos22"), version("b", "amos", "amos22", class_map=MORE)
    others = (version("c", "clinic", "amos22", class_map=MORE), version("d", "amos", class_map=MORE))
    assert [found.name for found in in_words_of(NINE, [nine, more, *others])] == ["a", "c", "d"]
    assert [found.name for found in in_words_of(MORE, [nine, more, *others])] == ["b", "c", "d"]


def test_what_was_said_in_another_class_map_alone_is_not_silenced() -> None:
    """The other map's own organs are no loss; one that both know is, and then a merge has to refuse."""
    nine, more = version("a", "x", organs=["liver"]), version("b", "x", class_map=MORE, organs=["liver", "colon"])
    assert [found.name for found in in_words_of(NINE, [nine, more])] == ["a"]
    only_colon = version("c", "x", class_map=MORE, organs=["colon"])
    assert [found.name for found in in_words_of(MORE, [nine, only_colon])] == ["a", "c"]


def test_a_newer_import_by_another_class_map_hides_nothing() -> None:
    """The scheduler asks for the words first, then for the newest version of the dataset's map in them."""
    older, newer = version("a", "lits", "lits", 1), version("b", "lits", "lits", 2, class_map=MORE)
    assert [found.name for found in current(in_words_of(NINE, [older, newer]))] == ["a"]
