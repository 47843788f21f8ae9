"""Crops: their shape, their content, and that they follow from seed, epoch and number."""

import numpy as np
import torch

from services.serving.card import Card
from services.serving.training import synthetic
from services.serving.training.case import Case
from services.serving.training.sampling import Sampler
from tests.serving.training.conftest import box_case


def test_crops_have_the_window_and_hold_organs(small_card: Card) -> None:
    """Of a synthetic patient smaller than the window, which lies in its middle."""
    case = synthetic.entries([1000])[0].make()
    card = small_card.model_copy(update={"window": (160, 96, 96)})
    assert case.ct.shape[0] < 160
    crop = Sampler([case], card, seed=0).draw(0, range(2), 2)
    assert crop.image.shape == (2, 1, 160, 96, 96)
    assert crop.truth.shape == (2, 9, 160, 96, 96)
    assert crop.image.min() >= 0
    assert crop.image.max() <= 1
    assert crop.truth.sum() > 0
    assert crop.known.all()
    outside = (160 - case.ct.shape[0]) // 2
    assert crop.truth[:, :, :outside].sum() == 0


def test_the_mask_lies_on_its_organ(card: Card) -> None:
    """In every crop the voxels of the organ are the bright ones."""
    crop = Sampler([box_case(3, ("liver",))], card, seed=1).draw(0, range(8), 8)
    inside = crop.image[:, 0][crop.truth[:, 0] > 0]
    outside = crop.image[:, 0][crop.truth[:, 0] == 0]
    assert inside.numel() > 1000
    assert inside.mean() > outside.mean() + 0.15


def test_a_crop_follows_from_seed_epoch_and_number(card: Card) -> None:
    """However the epoch is divided among devices."""
    cases = [box_case(number, card.organs) for number in range(3)]
    whole = Sampler(cases, card, seed=5).draw(2, range(4), 8)
    halves = [Sampler(cases, card, seed=5).draw(2, numbers, 8) for numbers in ([0, 2], [1, 3])]
    assert torch.equal(whole.image[[0, 2]], halves[0].image)
    assert torch.equal(whole.image[[1, 3]], halves[1].image)
    assert not torch.equal(whole.image, Sampler(cases, card, seed=5).draw(3, range(4), 8).image)


def test_an_epoch_reads_every_case_in_groups(card: Card) -> None:
    """A cache that holds sixteen cases reads each at most once an epoch, however many there are."""
    case, order = box_case(1, ("liver",)), []

    class Counted(list[Case]):
        def __getitem__(self, number: int) -> Case:  # type: ignore[override]
            order.append(number)
            return super().__getitem__(number)

    sampler = Sampler(Counted([case] * 50), card, seed=0)
    sampler.draw(0, range(400), 400)
    last = {number: len(order) - 1 - order[::-1].index(number) for number in set(order)}
    first = {number: order.index(number) for number in set(order)}
    alive = [sum(first[n] <= place <= last[n] for n in first) for place in range(len(order))]
    assert len(first) >= 45
    assert max(alive) <= 16


def test_half_of_the_crops_are_replayed(card: Card) -> None:
    revised, earlier = box_case(1, ("liver",)), box_case(2, ("spleen",))
    crop = Sampler([revised], card, seed=0, replay=[earlier]).draw(0, range(6), 6)
    np.testing.assert_array_equal(crop.known.numpy(), [[1, 0, 0], [0, 1, 0]] * 3)
