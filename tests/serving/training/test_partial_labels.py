"""What a source did not look for is unknown: nothing is learned of it, not even that it is absent."""

import numpy as np
import pytest
import torch
from monai.losses.dice import DiceCELoss, DiceLoss

from services.serving.card import Card
from services.serving.networks import build_network
from services.serving.training.case import Case
from services.serving.training.losses import dice_and_cross_entropy
from services.serving.training.sampling import Sampler
from tests.serving.training.conftest import box_case


def test_an_organ_nobody_looked_for_adds_nothing() -> None:
    """Loss and gradients are those of the known organs alone, to the last bit."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, 8, requires_grad=True)
    truth = (torch.rand(2, 3, 8, 8, 8) > 0.7).float()
    known = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]])
    loss = dice_and_cross_entropy(logits, truth, known, 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[:, 1]) == 0
    assert torch.count_nonzero(logits.grad[:, [0, 2]]) > 1000
    torch.testing.assert_close(loss, dice_and_cross_entropy(logits[:, [0, 2]], truth[:, [0, 2]], None, 0.1))


def test_each_case_of_a_batch_teaches_what_it_knows() -> None:
    """Two half-labelled cases are the mean of one labelled for the first organ and one for the second."""
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 2, 8, 8, 8), torch.zeros(2, 2, 8, 8, 8)
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    alone = [dice_and_cross_entropy(logits[i : i + 1, i : i + 1], truth[i : i + 1, i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(dice_and_cross_entropy(logits, truth, known), sum(alone) / 2)


def test_the_sampler_tells_unknown_from_absent(card: Card) -> None:
    """The spleen was looked for and is not there; the pancreas nobody looked for."""
    full = box_case(1, ("liver",))
    masks = {"liver": full.mask("liver"), "spleen": np.zeros(full.ct.shape, bool)}
    crop = Sampler([Case.of("partial", full.ct, masks)], card, seed=0).draw(0, range(4), 4)
    assert crop.known.tolist() == [[1, 1, 0]] * 4
    assert crop.truth[:, 0].any()
    assert not crop.truth[:, 1:].any()


def test_a_head_without_labels_keeps_its_gradient_at_zero(card: Card) -> None:
    """Through a whole network: the last layer's row of an organ that no case of the batch knows does not move."""
    torch.manual_seed(0)
    network = build_network(card)
    crop = Sampler([box_case(1, ("liver", "spleen"))], card, seed=0).draw(0, range(2), 2)
    dice_and_cross_entropy(network(crop.image), crop.truth, crop.known).backward()  # type: ignore[no-untyped-call]
    *_, bias = network.parameters()
    assert bias.grad is not None
    assert bias.grad[2] == 0
    assert (bias.grad[:2] != 0).all()


def test_overlapping_masks_stay_apart() -> None:
    ct, liver, spleen = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    liver[:3], spleen[1:] = True, True
    case = Case.of("overlap", ct, {"liver": liver, "spleen": spleen})
    np.testing.assert_array_equal(case.mask("liver"), liver)
    np.testing.assert_array_equal(case.mask("spleen"), spleen)


def test_more_organs_than_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 32"):
        Case.of("many", np.zeros((1, 1, 1), np.int16), {str(n): np.zeros((1, 1, 1), bool) for n in range(33)})


@pytest.mark.parametrize("organs", [1, 3])
def test_where_every_organ_is_known_the_loss_is_monai_s(organs: int) -> None:
    """Batch Dice and cross-entropy of sigmoids, the latter three times, where every organ is in the batch."""
    torch.manual_seed(organs)
    logits = torch.randn(2, organs, 8, 8, 8)
    truth = (torch.rand(2, organs, 8, 8, 8) < 0.3).float()
    ours = dice_and_cross_entropy(logits, truth)
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)(logits, truth)
    torch.testing.assert_close(ours, dice + 3 * torch.nn.BCEWithLogitsLoss()(logits, truth))
    if organs == 1:
        # With more channels MONAI's own cross-entropy would have them exclude each other.
        both = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0, lambda_ce=3.0)
        torch.testing.assert_close(ours, both(logits, truth))
