"""Tuning changes the heads of the revised organs and nothing else, and makes them better."""

import pytest
import torch

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, Network
from services.serving.networks import build_network
from services.serving.training.heads import Heads
from services.serving.training.scoring import scores
from services.serving.training.tuning import tune
from tests.serving.training.conftest import TINY, box_case


@pytest.mark.parametrize("architecture", [*TINY, "transposed"])
def test_only_the_revised_heads_change(card: Card, architecture: str) -> None:
    """In all four architectures, and where the last convolution is a transposed one, every other bit stays."""
    arguments = TINY.get(architecture, {"channels": [4, 8], "strides": [2]})
    name = architecture if architecture in TINY else "unet"
    if name == "swinunetr":
        card = card.model_copy(update={"window": (64, 32, 32)})
    card = card.model_copy(update={"network": Network.model_validate({"architecture": name, "arguments": arguments})})
    torch.manual_seed(1)
    network = build_network(card).eval()
    tuned = tune(network, card, [box_case(1, card.organs)], organs=["spleen"], steps=2)
    heads, parameters = Heads.of(network, card), dict(network.named_parameters())
    for key, before in network.state_dict().items():
        after, parameter = tuned.state_dict()[key], parameters.get(key)
        if parameter is heads.weight or parameter is heads.bias:
            axis = heads.axis if parameter is heads.weight else 0
            changed = [not torch.equal(before.select(axis, n), after.select(axis, n)) for n in range(3)]
            assert changed == [False, True, False]
        else:
            assert torch.equal(before, after), key


def test_tuning_learns_and_repeats(card: Card) -> None:
    """A head that knows nothing learns its organ; the same seed gives the same bits, another one others."""
    torch.manual_seed(0)
    network = build_network(card).eval()
    cases = [box_case(seed, card.organs) for seed in range(3)]
    tuned = [tune(network, card, cases, organs=["pancreas"], steps=60, rate=3e-2, seed=seed) for seed in (4, 4, 5)]
    before, after = (scores(one, card, cases[:1])[0] for one in (network, tuned[0]))
    assert after[2] > before[2] + 0.2
    assert (after[:2] == before[:2]).all()
    first, again, other = (torch.cat([value.flatten() for value in one.state_dict().values()]) for one in tuned)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_whole_network_may_be_tuned_with_replay(card: Card) -> None:
    """Replayed cases teach organs that the revisions do not have."""
    torch.manual_seed(0)
    network = build_network(card).eval()
    revised, earlier = [box_case(1, ("liver",))], [box_case(2, card.organs)]
    tuned = tune(network, card, revised, organs=["liver"], steps=4, replay=earlier, whole=True)
    moved = [not torch.equal(a, b) for a, b in zip(network.parameters(), tuned.parameters(), strict=True)]
    assert all(moved)


def test_organs_without_labels_are_named(card: Card) -> None:
    network, cases = build_network(card), [box_case(1, ("liver",))]
    with pytest.raises(AtlasError, match="Nobody looked for spleen, pancreas in any of the 1 cases") as caught:
        tune(network, card, cases, organs=["pancreas", "spleen"], steps=1)
    assert caught.value.reason is Reason.TRAINING_DATA
    with pytest.raises(AtlasError, match="no channel for aorta"):
        tune(network, card, cases, organs=["aorta"], steps=1)
