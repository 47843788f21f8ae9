"""The benchmark from its plan to its table. Every part that is finished is on disk and never done again."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from services.core.errors import AtlasError, Reason
from services.serving.benchmark.cases import drawn, entry, read, require_known
from services.serving.benchmark.learning import trained
from services.serving.benchmark.plan import SIDES, CaseFiles, Plan, Side, held_out, require_same
from services.serving.benchmark.report import Facts, write
from services.serving.benchmark.rows import Measured, RowFile
from services.serving.benchmark.testing import Contestant
from services.serving.card import Card
from services.serving.training.cache import CachedCases, CaseCache, Entry

Report = Callable[[str, float], None]
"""Is told what is being done, and the share of it that is done, 0 to 1."""


@dataclass(frozen=True)
class Tests:
    """Cases that no training sees."""

    name: str
    cases: tuple[CaseFiles, ...]


def benchmark(plan: Plan, report: Report) -> Path:
    """Train, test and write the table; its path.

    Raises MODEL_CARD_INVALID, RESOURCE_CONFLICT, TRAINING_DATA, TRAINING_FAILED, or what reading files raises.
    """
    cards = plan.cards()
    for dataset in (plan.a, plan.b, *plan.outside):
        require_known(dataset)
    require_same(plan, cards)
    report("drawing cases", 0.0)
    a = drawn(plan.a, plan.out / "data" / "a", plan.threads)
    b = drawn(plan.b, plan.out / "data" / "b", plan.threads)
    held = held_out(plan.b.name, b, plan.hold_out, plan.seed)
    sets = [Tests(f"hold-out of b ({plan.b.name})", held)]
    for number, dataset in enumerate(plan.outside):
        found = drawn(dataset, plan.out / "data" / f"outside-{number}", plan.threads)
        sets.append(Tests(f"outside ({dataset.name})", found))
    tested = _digests([case for one in sets for case in one.cases], plan, report)
    training: dict[Side, tuple[CaseFiles, ...]] = {"a": a, "b": tuple(case for case in b if case not in held)}
    learnt: dict[Side, list[CachedCases]] = {
        side: _prepared(plan, side, training[side], cards, tested, report) for side in SIDES
    }
    rows: list[Measured] = []
    for number, card in enumerate(cards):
        organs = _organs(card, [learnt[side][number] for side in SIDES])
        for side in SIDES:
            rows += _contest(plan, card, organs, side, learnt[side][number], sets, report)
    counts = {f"training {side}": len(learnt[side][0]) for side in SIDES} | {s.name: len(s.cases) for s in sets}
    notes = [
        f"{left_out} cases of {plan.of(side).name} were not trained on: the same scans are in the tests."
        for side in SIDES
        if (left_out := len(training[side]) - len(learnt[side][0]))
    ]
    facts = Facts(plan.a.name, plan.b.name, [one.name for one in sets], counts, plan.budget, _device(plan), notes)
    return write(rows, facts, plan.out)


def _contest(
    plan: Plan,
    card: Card,
    organs: Sequence[str],
    side: Side,
    cases: CachedCases,
    sets: Sequence[Tests],
    report: Report,
) -> Iterator[Measured]:
    """Train one network on one dataset and test it on all sets."""
    folder = plan.out / "networks" / f"{card.name}_{side}"
    what = f"{card.name} on {side}"
    made = trained(card, cases, organs, folder, plan, lambda share: report(f"training {what}", min(share, 1.0)))
    contestant = None
    for number, one in enumerate(sets):
        kept = RowFile(plan.out / "rows" / f"{folder.name}-{number}.jsonl")
        for index, case in enumerate(one.cases):
            report(f"testing {what} on {one.name}", index / len(one.cases))
            if case.name not in kept:
                contestant = contestant or Contestant(folder, made, plan.threads)
                kept.add(case.name, contestant.test(read(case, plan.class_map), organs))
        yield from kept.measured(card.name, plan.of(side).name, one.name)


def _digests(cases: Sequence[CaseFiles], plan: Plan, report: Report) -> set[str]:
    """What the CTs of the tests are known by. A file that cannot be read is found before anything is trained."""
    found = set()
    for number, case in enumerate(cases):
        report("reading test cases", number / len(cases))
        found.add(read(case, plan.class_map).digest)
    return found


def _prepared(
    plan: Plan, side: Side, cases: Sequence[CaseFiles], cards: Sequence[Card], tested: set[str], report: Report
) -> list[CachedCases]:
    """The training cases as each card's network sees them; a scan that is in a test set is left out."""
    cache = CaseCache(plan.out / "cache", int(plan.cache_gib * 2**30))
    entries: list[list[Entry]] = [[] for _ in cards]
    for number, case in enumerate(cases):
        report(f"reading cases of {side}", number / len(cases))
        labelled = read(case, plan.class_map)
        if labelled.digest not in tested:
            for mine, card in zip(entries, cards, strict=True):
                mine.append(entry(case, list(labelled.masks), card, plan.class_map))
    if not entries[0]:
        raise AtlasError(
            Reason.TRAINING_DATA,
            f"{plan.of(side).name} has no case that is not in a test set.",
            field=side,
            remedy="Train on other cases than those that are tested.",
        )
    return [CachedCases(cache, mine) for mine in entries]


def _organs(card: Card, sides: Sequence[CachedCases]) -> tuple[str, ...]:
    """The organs that both datasets teach."""
    common = set.intersection(*({organ for one in side.entries for organ in one.organs} for side in sides))
    if not common & set(card.organs):
        raise AtlasError(
            Reason.TRAINING_DATA,
            f"No organ of {card.name} is labelled in both datasets.",
            field=card.name,
            remedy="Give datasets that were labelled for the same organs.",
        )
    return tuple(organ for organ in card.organs if organ in common)


def _device(plan: Plan) -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{plan.threads} threads of a {platform.machine()} CPU"
