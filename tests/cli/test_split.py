"""Which cases are for testing."""

from hypothesis import given
from hypothesis import strategies as st

from services.cli.release.split import TEST, Lot, split

VOLUMES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.uuids().map(str), max_size=40)


def digests(number: int) -> dict[str, str]:
    return {f"volumes/{index}": f"{index:064x}" for index in range(number)}


def test_the_share_is_kept_as_near_as_whole_cases_allow() -> None:
    for number, test in ((0, 0), (1, 0), (2, 0), (3, 1), (10, 2), (101, 20)):
        assert list(split(digests(number), [], Lot(0.2)).values()).count(TEST) == test


def test_everything_or_nothing_can_be_for_testing() -> None:
    assert set(split(digests(9), [], Lot(1.0)).values()) == {"test"}
    assert set(split(digests(9), [], Lot(0.0)).values()) == {"train"}


@given(VOLUMES, st.integers(0, 5), st.floats(0, 1))
def test_neither_names_nor_order_decide(volumes: dict[str, str], seed: int, share: float) -> None:
    sides = split(volumes, [], Lot(share, seed))
    renamed = {f"x{name}": digest for name, digest in reversed(volumes.items())}
    assert split(renamed, [], Lot(share, seed)) == {f"x{name}": side for name, side in sides.items()}


@given(VOLUMES, st.data())
def test_a_group_is_on_one_side(volumes: dict[str, str], data: st.DataObject) -> None:
    names = sorted(volumes)
    group = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    sides = split(volumes, [[*group, "volumes/elsewhere"]], Lot(0.3))
    assert len({sides[name] for name in group}) <= 1


def test_another_seed_draws_others() -> None:
    assert split(digests(50), [], Lot(0.2, 0)) != split(digests(50), [], Lot(0.2, 1))


def test_equal_voxels_are_one_group() -> None:
    sides = split({"volumes/a": "1" * 64, "volumes/b": "1" * 64}, [], Lot(0.4))
    assert sides["volumes/a"] == sides["volumes/b"]
