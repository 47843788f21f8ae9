"""One simulated campaign: predict, attend, select, revise, tune, gate, promote, and again.

A state follows from the size, the seed and what was reviewed, round by round. States are kept on disk, so that a run
goes on where it was cut off, and strategies that chose alike share what comes of it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.experiment import ensembles
from benchmarks.experiment.cases import Patient, patient, patients
from benchmarks.experiment.ensembles import Looked
from benchmarks.experiment.sizes import HOME, ORGANS, Size
from benchmarks.reviewing import review_minutes
from services.scheduler import facts
from services.scheduler.acquisition import ORDERS, Candidate, Setting
from services.scheduler.acquisition.choice import Budget, choose
from services.scheduler.acquisition.cost import CostModel, Work, learn
from services.serving.card import Card
from services.serving.networks import build_network
from services.serving.training.case import Case
from services.serving.training.gate import judge
from services.serving.training.scoring import scores
from services.serving.training.tuning import tune

History = tuple[tuple[str, ...], ...]
"""The volumes that were reviewed, round by round, each round sorted."""


@dataclass(frozen=True)
class State:
    """A campaign after some rounds."""

    labels_dsc: float
    """Of the campaign's labels: revisions where there are some, else the ensemble's."""
    networks_dsc: float
    """Mean of the networks on test patients that no campaign saw."""
    promoted: int
    """Networks whose tuned version passed the gate of this round."""
    minutes: float
    """Of review so far, by the script's clock."""
    repaired: Mapping[str, Sequence[str]]
    """By volume the organs that a reviewer has put right."""
    works: Mapping[str, tuple[int, int, float]]
    """By reviewed volume what there was to look at: organs, regions, mm^3."""
    looked: Mapping[str, Any]
    """By volume that nobody has reviewed what attention says of it."""
    dsc: Mapping[str, Mapping[str, float]]
    """By volume and organ, of the ensemble's labels."""

    def candidates(self, cost: CostModel) -> list[Candidate]:
        """The volumes to choose from, as the scheduler sees them."""
        return [
            facts.candidate(volume, of["priority"], of["facts"], cost) for volume, of in sorted(self.looked.items())
        ]


class Campaign:
    """The campaign `seed`: its own pool of patients and lots, and the start networks that all campaigns share."""

    def __init__(self, size: Size, seed: int, folder: Path, *, whole: bool) -> None:
        """`folder` keeps patients, networks and states; `whole` tunes all weights instead of the revised heads."""
        self._size, self._seed, self._folder, self._whole = size, seed, folder, whole
        self._cards = size.cards()

    def run(self, strategy: str) -> list[State]:
        """The states of all rounds, the one before any review first."""
        history: History = ()
        states = [self._state(history)]
        for _ in range(self._size.rounds):
            history = (*history, self._chosen(strategy, states, history))
            states.append(self._state(history))
        return states

    def _chosen(self, strategy: str, states: Sequence[State], history: History) -> tuple[str, ...]:
        """The next round's volumes. Costs are learnt from the reviews so far, as the scheduler does."""
        now = states[-1]
        done = [Work(*work) for work in now.works.values()]
        cost = learn([(work, review_minutes(work)) for work in done])
        before = {volume: seen for state in states for volume, seen in state.looked.items()}
        reviewed = [
            facts.candidate(volume, 0, before[volume]["facts"], cost) for volumes in history for volume in volumes
        ]
        setting = Setting(f"{self._seed}/{len(history)}", reviewed)
        budget = Budget(self._size.per_round)
        choice = choose(now.candidates(cost), ORDERS[strategy], setting, budget, 0.0)
        return tuple(sorted(one.candidate.volume for one in choice.queue))

    def _state(self, history: History) -> State:
        path = self._path(history).with_suffix(".json")
        if not path.exists():
            state = self._reached(history)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(asdict(state)))
            part.replace(path)
        return State(**json.loads(path.read_text()))

    def _reached(self, history: History) -> State:
        if not history:
            return self._measured(self._networks(history), 0, {}, {}, further=True)
        parent = self._state(history[:-1])
        given = {volume: Looked(**parent.looked[volume]) for volume in history[-1]}
        repaired = {**parent.repaired, **{volume: seen.asked for volume, seen in given.items()}}
        works = {**parent.works, **{volume: _work(seen) for volume, seen in given.items()}}
        served = self._networks(history[:-1])
        networks = [self._tuned(network, card, repaired) for network, card in zip(served, self._cards, strict=True)]
        for network, card in zip(networks, self._cards, strict=True):
            _save(network, self._weights(history, card))
        promoted = sum(new is not old for new, old in zip(networks, served, strict=True))
        if not promoted:
            return _reviewed(parent, repaired, works)
        return self._measured(networks, promoted, repaired, works, further=len(history) < self._size.rounds)

    def _tuned(self, network: nn.Module, card: Card, repaired: Mapping[str, Sequence[str]]) -> nn.Module:
        """The network tuned on all revisions so far if the gate lets it pass, else the one that is served."""
        organs = {organ for some in repaired.values() for organ in some}
        if not organs:
            return network
        cases = [self._pool[volume].case(card, some) for volume, some in sorted(repaired.items()) if some]
        tuned = tune(
            network,
            card,
            cases,
            organs=organs,
            steps=self._size.tune_steps,
            seed=self._seed,
            rate=1e-3 if self._whole else 2e-3,
            replay=self._home,
            whole=self._whole,
        )
        before, after = (scores(one, card, self._held_out) for one in (network, tuned))
        return tuned if judge(card.organs, before, after, tuned=organs).promoted else network

    def _measured(
        self,
        networks: Sequence[nn.Module],
        promoted: int,
        repaired: Mapping[str, Sequence[str]],
        works: Mapping[str, tuple[int, int, float]],
        *,
        further: bool,
    ) -> State:
        dsc, looked = {}, {}
        for volume, one in self._pool.items():
            ensemble = ensembles.predicted(networks, self._cards, one)
            dsc[volume] = ensembles.dsc(ensemble, one)
            if further and volume not in repaired:
                looked[volume] = asdict(ensembles.looked(ensemble, one))
        tests = [scores(network, card, self._tests) for network, card in zip(networks, self._cards, strict=True)]
        return State(
            labels_dsc=ensembles.mean(dsc, repaired),
            networks_dsc=float(np.nanmean(tests)),
            promoted=promoted,
            minutes=_minutes(works),
            repaired=repaired,
            works=works,
            looked=looked,
            dsc=dsc,
        )

    def _networks(self, history: History) -> list[nn.Module]:
        """Those that are served after these rounds."""
        return [_load(card, self._weights(history, card)) for card in self._cards]

    def _path(self, history: History) -> Path:
        key = hashlib.sha256(json.dumps([self._whole, history]).encode()).hexdigest()[:16]
        return self._folder / self._size.digest / f"campaign-{self._seed}" / key

    def _weights(self, history: History, card: Card) -> Path:
        if not history:
            return start_weights(self._folder, self._size, card)
        return self._path(history).with_name(f"{self._path(history).name}-{card.name}.pt")

    @cached_property
    def _pool(self) -> dict[str, Patient]:
        found = patients(self._folder, self._size.pool, f"pool{self._seed}", self._size.grid_mm)
        return {one.name: one for one in found}

    @cached_property
    def _home(self) -> list[Case]:
        return [home_case(self._folder, self._size, number) for number in range(self._size.home)]

    @cached_property
    def _held_out(self) -> list[Case]:
        return self._labelled("gate", self._size.gate)

    @cached_property
    def _tests(self) -> list[Case]:
        return self._labelled("test", self._size.test)

    def _labelled(self, purpose: str, counts: Mapping[str, int]) -> list[Case]:
        found = patients(self._folder, counts, purpose, self._size.grid_mm)
        return [one.case(self._cards[0]) for one in found]


def home_case(folder: Path, size: Size, number: int) -> Case:
    """A labelled case of the hospital that the networks come from."""
    return patient(folder, HOME, "home", number, size.grid_mm).case(size.cards()[0])


def start_weights(folder: Path, size: Size, card: Card) -> Path:
    """The file with a network's weights before the first round."""
    return folder / size.digest / f"start-{card.name}.pt"


def start(folder: Path, size: Size, card: Card) -> None:
    """Train a network at home, if that has not been done."""
    path = start_weights(folder, size, card)
    if path.exists():
        return
    torch.manual_seed(0)
    cases = [home_case(folder, size, number) for number in range(size.home)]
    _save(tune(build_network(card), card, cases, organs=ORGANS, steps=size.start_steps, rate=3e-3, whole=True), path)


def _reviewed(
    before: State, repaired: Mapping[str, Sequence[str]], works: Mapping[str, tuple[int, int, float]]
) -> State:
    """The state after a round that changed no network: every prediction is as it was."""
    return replace(
        before,
        labels_dsc=ensembles.mean(before.dsc, repaired),
        promoted=0,
        minutes=_minutes(works),
        repaired=repaired,
        works=works,
        looked={volume: seen for volume, seen in before.looked.items() if volume not in repaired},
    )


def _minutes(works: Mapping[str, tuple[int, int, float]]) -> float:
    return sum(review_minutes(Work(*work)) for work in works.values())


def _work(seen: Looked) -> tuple[int, int, float]:
    work = facts.work(seen.facts)
    return work.organs, work.regions, work.attention_mm3


def _save(network: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(network.state_dict(), part)
    part.replace(path)


def _load(card: Card, path: Path) -> nn.Module:
    network = build_network(card)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()
