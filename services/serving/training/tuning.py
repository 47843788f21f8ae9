"""Tuning a trained network on what people have revised, in memory: one epoch of the same loop as a training job's."""

import copy
from collections.abc import Collection, Sequence

from torch import nn

from services.core.errors import AtlasError, Reason
from services.serving.card import Card
from services.serving.training.case import Case
from services.serving.training.distributed import ALONE, Group
from services.serving.training.loop import Budget, one_epoch
from services.serving.training.run import Run
from services.serving.training.sampling import Sampler


def tune(
    network: nn.Module,
    card: Card,
    cases: Sequence[Case],
    *,
    organs: Collection[str],
    steps: int,
    seed: int = 0,
    rate: float = 2e-3,
    batch: int = 1,
    replay: Sequence[Case] = (),
    whole: bool = False,
    group: Group = ALONE,
) -> nn.Module:
    """A copy of `network`, in evaluation mode, tuned for `steps` steps; the same seed gives the same weights.

    Only the heads of `organs`, those that were revised, change: of everything else every bit stays. With `whole` all
    weights change; then give cases of earlier rounds as `replay`, or organs that nobody revised are forgotten (in the
    paper they lost 10.4 DSC). Raises TRAINING_DATA if an organ of `organs` is labelled in no case.
    """
    require_labelled(card, [case.organs for case in (*cases, *replay)], organs)
    run = Run(copy.deepcopy(network), card, rate, heads=() if whole else organs, group=group)
    sampler = Sampler(cases, card, seed, organs=None if whole else organs, replay=replay)
    one_epoch(run, sampler, Budget(1, None, steps, batch), group)
    return run.average


def require_labelled(card: Card, labelled: Sequence[Collection[str]], organs: Collection[str]) -> None:
    """Raise TRAINING_DATA, naming them, if organs are not the card's, or if no case is labelled for them.

    `labelled` names the organs that each case's source looked for, replayed cases among them.
    """
    if strangers := sorted(set(organs) - set(card.organs)):
        raise _unfit(
            f"The network of {card.name} has no channel for {', '.join(strangers)}.", "Name organs of its card."
        )
    seen = {organ for looked_for in labelled for organ in looked_for}
    if missing := [organ for organ in card.organs if organ in organs and organ not in seen]:
        raise _unfit(
            f"Nobody looked for {', '.join(missing)} in any of the {len(labelled)} cases to learn from.",
            "Add cases that are labelled for it, or leave the organ out.",
        )


def _unfit(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.TRAINING_DATA, message, field="organs", remedy=remedy)
