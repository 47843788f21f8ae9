"""The cards that ship without weights are networks that can be built, of the size that was published."""

import pytest

from services.core.errors import AtlasError, Reason
from services.serving import zoo
from services.serving.networks import build_network, build_own

PUBLISHED_MILLIONS = {"abdomenatlas_swinunetr": 62.2, "genesis_unet": 19.1, "suprem_segresnet": 4.7}
"""Parameters as their papers tell them."""


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_builds_its_network(name: str) -> None:
    card = zoo.load(name)
    assert card.name == name
    assert card.weights is None
    millions = sum(parameter.numel() for parameter in build_own(card).parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED_MILLIONS.get(name, millions), abs=0.06)


@pytest.mark.parametrize("name", [name for name in zoo.names() if name.startswith("paper")])
def test_the_benchmark_s_networks_take_the_paper_s_input(name: str) -> None:
    card = zoo.load(name)
    assert (card.grid_spacing_mm, card.working_factor, card.window) == (1.5, 1, (96, 96, 96))
    assert (card.hu_window, card.overlap, len(card.organs)) == ((-175, 250), 0.75, 9)


def test_a_licence_belongs_to_weights() -> None:
    """What has been trained and whose terms are known says them; weights for the others are whoever's brings them."""
    told = {name for name in zoo.names() if zoo.load(name).licence}
    assert told == {name for name in zoo.names() if name.startswith("suprem")}
    assert all(zoo.load(name).trained_on for name in told)


def test_a_card_that_there_is_not() -> None:
    with pytest.raises(AtlasError) as caught:
        zoo.load("resnet")
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


def test_what_our_windows_already_are_is_not_wrapped() -> None:
    """A network of ours keeps the names of its weights."""
    assert not any(name.startswith("network.") for name in build_network(zoo.load("paper_unet")).state_dict())
