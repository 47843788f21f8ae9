"""Strategies: which volume comes first, by arithmetic that can be followed."""

import random
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.acquisition import ORDERS, Candidate, Setting
from services.scheduler.acquisition.diversity import features
from services.scheduler.acquisition.standing import Norm, norms

SETTING = Setting(seed="c/1")


def names(strategy: str, candidates: list[Candidate], setting: Setting = SETTING) -> str:
    return "".join(c.volume for c in ORDERS[strategy](candidates, setting))


CANDIDATES = [
    # A thin-slice CT: many voxels, little tissue, and little time.
    Candidate("a", priority=900, attention_mm3=90.0, expected_error_mm3=60.0, minutes=6.0),
    # A thick-slice CT: few voxels, much tissue, but mostly soft borders.
    Candidate("b", priority=100, attention_mm3=500.0, expected_error_mm3=50.0, minutes=10.0),
    # The largest error, which takes longest.
    Candidate("c", priority=100, attention_mm3=300.0, expected_error_mm3=200.0, minutes=40.0),
    Candidate("d"),
]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("priority", "abc"),  # 900, 100 = 100
        ("volume", "bca"),  # 500, 300, 90 mm^3
        ("error_per_minute", "abc"),  # 60/6 = 10, 50/10 = 5 = 200/40
    ],
)
def test_numbers_decide_names_break_ties_and_zero_is_left_out(strategy: str, expected: str) -> None:
    assert names(strategy, CANDIDATES) == expected
    assert names(strategy, CANDIDATES[::-1]) == expected
    assert names(strategy, []) == ""


def unsure(volume: str, **organ_errors_mm3: float) -> Candidate:
    return Candidate(volume, organ_errors_mm3=organ_errors_mm3)


def test_what_is_ordinary_in_a_campaign_calls_for_nobody() -> None:
    """Pancreases: 10, 20, 30, 40, 90, median 30. Livers: two only, so all of them counts."""
    candidates = [
        unsure("a", pancreas=10.0),
        unsure("b", pancreas=20.0, liver=5.0),
        unsure("c", pancreas=30.0),
        unsure("d", pancreas=40.0),
        unsure("e", pancreas=90.0, liver=1.0),
    ]
    assert norms(candidates) == [Norm("liver", 2, 3.0, 4.6), Norm("pancreas", 5, 30.0, 70.0)]
    assert names("excess", candidates) == "edb"  # 60 + 1, 10, 5
    assert names("excess", candidates[::-1]) == "edb"
    assert names("excess", []) == ""
    reviewed = Setting(reviewed=[unsure(name, pancreas=100.0) for name in "xyz"])
    # With 100, 100, 100 the median is 65.
    assert names("excess", candidates, reviewed) == "eb"


def test_a_volume_less_changes_no_order_where_the_median_stays() -> None:
    candidates = [unsure(name, liver=float(10 + n)) for n, name in enumerate("abcdefg")]
    assert names("excess", candidates) == "gfe"
    assert names("excess", [c for c in candidates if c.volume not in "ag"]) == "fe"


def labelled(volume: str, **organs_mm3: float) -> Candidate:
    return Candidate(volume, organs_mm3=organs_mm3)


def test_lots_fall_on_volumes_with_labelled_foreground_only() -> None:
    candidates = [labelled(name, liver=1.0) for name in "abcdef"] + [labelled("x", liver=0.0), labelled("y")]
    drawn = names("random", candidates)
    assert sorted(drawn) == list("abcdef")
    assert drawn == names("random", candidates[::-1]), "the order in which they came plays no part"
    assert drawn != names("random", candidates, Setting(seed="c/2"))


def test_a_volume_less_leaves_the_lots_of_the_others() -> None:
    candidates = [labelled(name, liver=1.0) for name in "abcdef"]
    drawn = names("random", candidates)
    assert names("random", [c for c in candidates if c.volume != "c"]) == drawn.replace("c", "")


def test_every_volume_has_the_same_chance() -> None:
    """Of 4 volumes, over 4000 seeds, each is first in a quarter of the draws, within 4 standard errors (27.4 each)."""
    candidates = [labelled(name, liver=1.0) for name in "abcd"]
    firsts = [names("random", candidates, Setting(seed=f"c/{n}"))[0] for n in range(4000)]
    for name in "abcd":
        assert abs(firsts.count(name) - 1000) < 4 * 27.4


def at(volume: str, mm: float) -> Candidate:
    """A volume whose field of view has three edges of `mm`; all else is equal."""
    return Candidate(volume, extent_mm=(mm, mm, mm))


def test_the_farthest_from_all_that_was_taken_comes_next() -> None:
    # Mean 240: c is nearest. Then the distances are a 200, b 100, d 100, e 600; after e: a 200; after a: b 100 = d 100.
    candidates = [at("a", 100), at("b", 200), at("c", 300 - 1e-9), at("d", 400), at("e", 900)]
    assert names("diversity", candidates)[:3] in ("cea", "dea")
    candidates = [at("a", 0), at("b", 100), at("c", 200), at("d", 500), at("e", 900)]
    # Mean 340: c is 140 off, d 160. Then a 200, b 100, d 300, e 700: e; a 200, b 100, d 300: d; a; b.
    assert names("diversity", candidates) == "cedab"
    assert names("diversity", candidates[::-1]) == "cedab"


def test_what_was_reviewed_is_where_diversity_starts_from() -> None:
    # From 900: a 900, b 800, c 700, d 400: a. Then b 100, c 200, d 400: d; then c 200, b 100.
    candidates = [at("a", 0), at("b", 100), at("c", 200), at("d", 500)]
    assert names("diversity", candidates, Setting(reviewed=[at("e", 900)])) == "adcb"


def test_equal_volumes_come_by_name_and_each_once() -> None:
    assert names("diversity", [at(name, 300) for name in "cab"]) == "abc"
    assert names("diversity", [at("x", 300)], Setting(reviewed=[at("y", 300)])) == "x"
    assert names("diversity", []) == ""


def test_blocks_of_features_weigh_the_same_however_many_numbers_they_have() -> None:
    """Organs and HU split the volumes alike, so their parts of the distance are alike: 2^2 each."""
    organs_a, organs_b = dict.fromkeys("pqrst", 10.0), dict.fromkeys("pqrst", 5000.0)
    rows = features([Candidate("a", organs_mm3=organs_a, hu=(0.0,)), Candidate("b", organs_mm3=organs_b, hu=(90.0,))])
    assert np.sum((rows[0] - rows[1]) ** 2) == pytest.approx(4 + 4)
    sources = features([Candidate("a", source="amos22"), Candidate("b", source="btcv")])
    assert np.sum((sources[0] - sources[1]) ** 2) == pytest.approx(4)


def test_an_organ_that_one_volume_lacks_is_there_with_nothing() -> None:
    assert np.isfinite(features([labelled("a", liver=5.0), labelled("b")])).all()


numbers = st.floats(0, 1e6)
volumes = st.lists(
    st.builds(
        Candidate,
        volume=st.text("abcdefgh", min_size=1, max_size=3),
        priority=st.integers(0, 3),
        attention_mm3=numbers,
        expected_error_mm3=numbers,
        minutes=st.floats(1, 120),
        organs_mm3=st.dictionaries(st.sampled_from(["liver", "spleen"]), numbers),
        extent_mm=st.tuples(numbers, numbers, numbers),
        source=st.sampled_from(["", "btcv"]),
    ),
    max_size=12,
    unique_by=lambda c: c.volume,
)


@pytest.mark.parametrize("strategy", ORDERS)
@given(candidates=volumes, shuffle=st.randoms(use_true_random=False))
def test_strategies_give_candidates_once_in_an_order_of_their_own(
    strategy: str, candidates: list[Candidate], shuffle: random.Random
) -> None:
    order = [c.volume for c in ORDERS[strategy](candidates, SETTING)]
    assert len(set(order)) == len(order)
    assert set(order) <= {c.volume for c in candidates}
    shuffle.shuffle(candidates)
    assert [c.volume for c in ORDERS[strategy](candidates, SETTING)] == order


@given(volumes.filter(lambda found: len(found) > 2), st.integers(1, 5))
def test_k_centres_cover_within_twice_the_least_radius(candidates: list[Candidate], centres: int) -> None:
    """The bound of Gonzalez: whatever is left is no farther from a centre than the centres are from one another."""
    chosen = [c.volume for c in islice(ORDERS["diversity"](candidates, SETTING), centres)]
    ordered = sorted(candidates, key=lambda c: c.volume)
    points = dict(zip([c.volume for c in ordered], features(ordered), strict=True))

    def gap(a: str, b: str) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    left = [min(gap(c.volume, centre) for centre in chosen) for c in candidates if c.volume not in chosen]
    apart = [gap(a, b) for a in chosen for b in chosen if a < b]
    assert not left or not apart or max(left) <= min(apart) + 1e-9
