"""Source over revision over AI, organ by organ; among revisions the one named last."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.merging.policy import Policy, Readers
from services.merging.precedence import Choice, Given, Origin, choose

ORGANS = ("aorta", "liver", "spleen")
SOURCE = Given("source", Origin.SOURCE, ("liver",))
FIRST = Given("first", Origin.REVISION, ("liver", "spleen"))
SECOND = Given("second", Origin.REVISION, ("spleen",))
AI = dict.fromkeys(ORGANS, ("unet", "segresnet"))


@pytest.mark.parametrize(
    ("versions", "liver", "spleen", "aorta"),
    [
        ([], "AI", "AI", "AI"),
        ([SOURCE], "source", "AI", "AI"),
        ([FIRST], "first", "first", "AI"),
        ([FIRST, SOURCE], "source", "first", "AI"),
        ([FIRST, SECOND], "first", "second", "AI"),
        ([SECOND, FIRST], "first", "first", "AI"),
        ([SOURCE, SECOND, FIRST], "source", "first", "AI"),
    ],
)
def test_who_decides(versions: list[Given], liver: str, spleen: str, aorta: str) -> None:
    chosen = {choice.organ: choice.label_version or "AI" for choice in choose(ORGANS, versions, AI)}
    assert chosen == {"liver": liver, "spleen": spleen, "aorta": aorta}


def test_an_organ_that_nobody_looked_for_and_no_model_has_is_unknown() -> None:
    assert choose(ORGANS, [SOURCE], {"spleen": ("unet",), "aorta": ()}) == [
        Choice("liver", Origin.SOURCE, label_version="source"),
        Choice("spleen", Origin.AI, predictions=("unet",)),
    ]


def test_origins_are_those_of_the_contract() -> None:
    assert {origin.name: origin.value for origin in Origin} == {
        name.removeprefix("ORIGIN_"): value for name, value in pb.Origin.items() if value
    }


VERSIONS = st.lists(
    st.builds(
        lambda origin, organs: (origin, tuple(organs)),
        st.sampled_from([Origin.SOURCE, Origin.REVISION]),
        st.lists(st.sampled_from(ORGANS), unique=True),
    ),
    max_size=6,
).map(lambda items: [Given(f"v{n}", origin, organs) for n, (origin, organs) in enumerate(items)])


@settings(deadline=None)
@given(VERSIONS)
def test_a_higher_origin_is_never_displaced(versions: list[Given]) -> None:
    for choice in choose(ORGANS, versions, AI):
        speaking = [version for version in versions if choice.organ in version.organs]
        assert choice.origin == min((version.origin for version in speaking), default=Origin.AI)
        of_that_origin = [version.name for version in speaking if version.origin == choice.origin]
        assert choice.label_version == (of_that_origin[-1] if of_that_origin else "")


@settings(deadline=None)
@given(VERSIONS, st.permutations(ORGANS))
def test_organs_decide_independently(versions: list[Given], order: list[str]) -> None:
    together = {choice.organ: choice for choice in choose(ORGANS, versions, AI)}
    assert [choose([organ], versions, AI)[0] for organ in order] == [together[organ] for organ in order]


AUTHORS = ("ana", "ben", "cyd")
BROUGHT_TOGETHER = st.sampled_from(
    [Policy(readers=Readers.MAJORITY), Policy(readers=Readers.STAPLE)]
    + [Policy(readers=Readers.ADJUDICATED, adjudicator=author) for author in AUTHORS]
)
BY_AUTHORS = st.tuples(VERSIONS, st.lists(st.sampled_from(AUTHORS), min_size=6, max_size=6)).map(
    lambda drawn: [replace(version, author=author) for version, author in zip(*drawn, strict=False)]
)


def _shuffled(versions: list[Given], order: list[int], together: Callable[[Given], object]) -> list[Given]:
    """Versions in another order, in which those that belong `together` keep theirs."""
    shuffled = [versions[at] for at in order if at < len(versions)]
    waiting = {key: iter([v for v in versions if together(v) == key]) for key in map(together, versions)}
    return [next(waiting[together(version)]) for version in shuffled]


@settings(deadline=None)
@given(BY_AUTHORS, st.permutations(range(6)), BROUGHT_TOGETHER)
def test_readers_of_one_rank_come_together_in_any_order(
    versions: list[Given], order: list[int], policy: Policy
) -> None:
    """Only of one author's own versions the order says something: which is the newest."""
    other = _shuffled(versions, order, lambda version: (version.origin, version.author))
    assert choose(ORGANS, other, AI, policy) == choose(ORGANS, versions, AI, policy)


@settings(deadline=None)
@given(BY_AUTHORS, st.permutations(range(6)))
def test_the_order_between_ranks_says_nothing(versions: list[Given], order: list[int]) -> None:
    """Whoever speaks last of a rank decides there, whenever the other ranks spoke."""
    other = _shuffled(versions, order, lambda version: version.origin)
    assert choose(ORGANS, other, AI) == choose(ORGANS, versions, AI)
