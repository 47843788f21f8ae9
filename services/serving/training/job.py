"""A whole training: from a model's card and labelled cases to a new version with its curves and its comparison."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.core.folderlock import locked
from services.core.names import content_id
from services.serving.card import Agreement, Card, load_card, load_version
from services.serving.disk import write_whole
from services.serving.networks import build_network, load_network
from services.serving.training import adding, curves, loop
from services.serving.training.cache import CachedCases, CaseCache, Entry
from services.serving.training.distributed import Group
from services.serving.training.gate import LEAST_MARGIN, Verdict, judge
from services.serving.training.loop import Budget
from services.serving.training.run import Run
from services.serving.training.sampling import Sampler
from services.serving.training.scoring import scores
from services.serving.training.selection import Data
from services.serving.training.tuning import require_labelled

_DONE = "done.json"
_RUNTIMES = ("cpu_runtime", "gpu_runtime")
_SAID = ("label", "summary", "intended_use", "overlap", "gaussian_sigma", *_RUNTIMES, "licence", "origin")
"""What a card says that no weight depends on; nor does one on how the last weights were made, and measured."""
_LOOKED_AT = 3
"""Held-out cases that are measured after every epoch; all of them are at the end."""


@dataclass(frozen=True)
class Plan:
    """What to train, and how; checkpoint and curves go to a folder of their own below `runs`.

    `heads` are the organs of which alone the heads change; () for the whole network. `answers_for` are those that some
    held-out case must have (all of `organs` if it is empty). A model without weights becomes
    version 1, and so does one to be replaced. Otherwise the result is the next version, which begins with the weights
    of the one that is served if `goes_on`, and is compared with it. If it lost nothing and the plan `promotes`, it is
    served beside that one when Triton reads the folder next.
    """

    folder: Path
    runs: Path
    cache: CaseCache
    budget: Budget
    seed: int
    rate: float
    organs: Collection[str]
    heads: Collection[str] = ()
    answers_for: Collection[str] = ()
    goes_on: bool = False
    replaces: bool = False
    promotes: bool = False
    margin: float = 0.0


@dataclass(frozen=True)
class Result:
    """What came of it: the version's number, whether its comparison lets it be served, and what `reasons` forbid it.

    `notes` say what it did not learn, or what nobody could measure.
    """

    model: str
    version: int
    promoted: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def train(plan: Plan, data: Data, group: Group) -> Result | None:
    """Train and add the version; None in processes that do not lead.

    The same again finds the weights that were trained. Its comparison counts as long as the same version is served and
    the held-out cases and the margin are the same; otherwise the weights are compared anew, as another version.

    Raises TRAINING_DATA where an organ is labelled in no case or nothing is held out, TRAINING_FAILED and DISK_FULL.
    """
    card = load_card(plan.folder)
    served = None if plan.replaces or card.weights is None else modelversions.newest(plan.folder)
    if served is not None:
        card = load_version(plan.folder, served)
    require_labelled(card, [entry.organs for entry in (*data.cases, *data.replay)], {*plan.organs, *plan.answers_for})
    _require_held_out(data)
    run_folder = _run_folder(plan, data, card)
    if served is not None and (done := _done(plan, run_folder) or _made(plan, data, card, served)) is not None:
        return _again(plan, data, served, done, run_folder) if group.leads else None
    run, seconds = _trained(plan, data, card, run_folder, group)
    if not group.leads:
        return None
    facts = data.facts | {
        "held_out": len(data.held_out),
        "seed": plan.seed,
        "rate": plan.rate,
        "steps": run.steps,
        "batch": plan.budget.batch * group.size,
        "minutes": round(seconds / 60, 1),
        "organs": ", ".join(organ for organ in card.organs if organ in plan.organs),
    }
    if plan.goes_on:
        facts |= {"from_version": served, "changed": "heads" if plan.heads else "all weights"}
    # What is kept is rounded to half precision: so is what is judged.
    network = run.average.half().float()
    card = card.model_copy(update={"trained_on": facts, "reaches": ()})
    if served is None:
        adding.replace_first(plan.folder, card, network)
        result = Result(card.name, 1, promoted=True, notes=data.notes)
        _write_done(plan, run_folder, result, "")
        return result
    return _compared(plan, data, card, served, network, run_folder)


def _require_held_out(data: Data) -> None:
    if not data.held_out:
        raise AtlasError(
            Reason.TRAINING_DATA,
            "No case is held out, so nobody could say what the result is worth.",
            field="held_out",
            remedy="Label more cases, or raise --held-out.",
        )


def _trained(plan: Plan, data: Data, card: Card, run_folder: Path, group: Group) -> tuple[Run, float]:
    """The run at the end of its budget, and the seconds that it took."""
    deterministic(plan.seed)
    network = load_network(plan.folder, card) if plan.goes_on else build_network(card)
    run = Run(network, card, plan.rate, heads=plan.heads, group=group)
    cases, replay = (CachedCases(plan.cache, _useful(some, plan.organs)) for some in (data.cases, data.replay))
    if not cases:
        # Only earlier cases are labelled for what is asked for.
        cases, replay = replay, cases
    sampler = Sampler(cases, card, plan.seed, organs=plan.organs, replay=replay)
    looked_at = CachedCases(plan.cache, data.held_out[:_LOOKED_AT])

    def measure(network: nn.Module) -> dict[str, float]:
        return _means(card, scores(network, card, looked_at))

    return run, loop.train(run, sampler, measure, plan.budget, run_folder, group)


def _compared(plan: Plan, data: Data, card: Card, served: int, network: nn.Module, run_folder: Path) -> Result:
    """The network as the next version of its model, with its curves and its comparison with the one that is served."""
    device = next(network.parameters()).device
    held_out = CachedCases(plan.cache, data.held_out)
    after = scores(network, card, held_out)
    now = load_version(plan.folder, served)
    before = scores(load_network(plan.folder, now).to(device), now, held_out)
    margin = max(plan.margin, LEAST_MARGIN)
    verdict = judge(card.organs, before, after, tuned=plan.answers_for or plan.organs, margin=margin)
    print(verdict.markdown(), flush=True)
    files = adding.comparison_files(verdict, served) | _curve_files(run_folder)
    card = card.model_copy(update={"reaches": (_agreement(card, after),)})
    number = adding.add_version(plan.folder, card, network, files)
    result = Result(card.name, number, verdict.promoted, verdict.reasons, data.notes + _unseen(plan, verdict))
    _write_done(plan, run_folder, result, _comparison_key(plan, data, served))
    return _promoted(plan, result)


def _unseen(plan: Plan, verdict: Verdict) -> tuple[str, ...]:
    """Which organs may have changed without anybody seeing it."""
    if plan.heads:
        return ()
    unmeasured = [row.organ for row in verdict.organs if row.change == "unmeasured"]
    return tuple(f"No held-out case has {organ}, so nobody knows whether it lost." for organ in unmeasured)


def _again(plan: Plan, data: Data, served: int, done: dict[str, Any], run_folder: Path) -> Result:
    """What the weights of a run that was done are worth now."""
    number = int(done["version"])
    if number == served or done.get("compared") == _comparison_key(plan, data, served):
        reasons, notes = tuple(done["reasons"]), tuple(done.get("notes", ()))
        return _promoted(plan, Result(done["model"], number, done["promoted"], reasons, notes))
    card = load_version(plan.folder, number)
    facts = (card.trained_on or {}) | {"held_out": len(data.held_out)}
    card, network = card.model_copy(update={"trained_on": facts}), load_network(plan.folder, card)
    return _compared(plan, data, card, served, network, run_folder)


def _promoted(plan: Plan, result: Result) -> Result:
    """Serve a version that lost nothing, if the plan says so, and unless another came to be served meanwhile."""
    if not (plan.promotes and result.promoted):
        return result
    with locked(plan.folder):
        newest = modelversions.served_in(plan.folder)[-1]
        if result.version == newest:
            return result
        try:
            modelversions.require_better(plan.folder, result.version, newest)
        except AtlasError as error:
            return replace(result, promoted=False, reasons=(error.message,))
        config = (plan.folder / modelversions.CONFIG_FILE).read_text()
        modelversions.write_config(plan.folder, modelversions.with_served(config, [newest, result.version]))
    return result


def _useful(cases: Sequence[Entry], organs: Collection[str]) -> list[Entry]:
    return [case for case in cases if not set(organs).isdisjoint(case.organs)]


def deterministic(seed: int) -> None:
    """The same seed gives the same weights, on the same device and number of threads."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    # A few kernels of CUDA have no deterministic form; torch names them in a warning.
    torch.use_deterministic_algorithms(True, warn_only=True)


def _identity(plan: Plan, data: Data, card: Card) -> str:
    """A digest of everything that the weights depend on but the budget's end, so that a run may be prolonged."""
    unsaid = {*_SAID, "trained_on", "reaches"} | (set() if plan.goes_on else {"weights"})
    keys = [entry.key for entry in (*data.cases, *data.replay)]
    options = [plan.seed, plan.rate, plan.budget.steps, plan.budget.batch, sorted(plan.heads), sorted(plan.organs)]
    return content_id(card.model_dump_json(exclude=unsaid), str(options), *keys)


def _comparison_key(plan: Plan, data: Data, served: int) -> str:
    """A digest of everything that a comparison depends on but the weights."""
    return content_id(
        str((served, plan.margin, sorted(plan.answers_for or plan.organs))), *(entry.key for entry in data.held_out)
    )


def _run_folder(plan: Plan, data: Data, card: Card) -> Path:
    return plan.runs / f"{card.name}-{_identity(plan, data, card)[:12]}"


def _write_done(plan: Plan, run_folder: Path, result: Result, compared: str) -> None:
    sha256 = _weights_sha256(plan, result.version)
    said = {"budget": str(plan.budget), "compared": compared, "weights_sha256": sha256, **vars(result)}
    write_whole(run_folder / _DONE, json.dumps(said).encode())


def _done(plan: Plan, run_folder: Path) -> dict[str, Any] | None:
    """What the same run wrote down, if the version that it added is there: its number may be another run's now."""
    path = run_folder / _DONE
    if not path.exists():
        return None
    done: dict[str, Any] = json.loads(path.read_text())
    if done["budget"] != str(plan.budget) or not (plan.folder / str(done["version"])).exists():
        return None
    # Earlier releases wrote no digest down.
    sha256 = _weights_sha256(plan, done["version"])
    return done if done.get("weights_sha256", sha256) == sha256 else None


def _weights_sha256(plan: Plan, number: int) -> str:
    weights = load_version(plan.folder, number).weights
    return weights.sha256 if weights else ""


def _made(plan: Plan, data: Data, card: Card, served: int) -> dict[str, Any] | None:
    """What the run wrote down that made the version which is served, if this plan is that run.

    It began with an earlier version, so its folder follows from that one's weights.
    """
    before = (card.trained_on or {}).get("from_version")
    if not plan.goes_on or before not in modelversions.numbers(plan.folder):
        return None
    done = _done(plan, _run_folder(plan, data, load_version(plan.folder, before)))
    return done if done is not None and done["version"] == served else None


def _means(card: Card, found: NDArray[np.float64]) -> dict[str, float]:
    columns = zip(card.organs, found.T, strict=True)
    return {organ: float(np.nanmean(column)) for organ, column in columns if np.isfinite(column).any()}


def _agreement(card: Card, found: NDArray[np.float64]) -> Agreement:
    dsc = {organ: round(mean, 3) for organ, mean in _means(card, found).items()}
    return Agreement(
        reference="held-out labelled cases, on the network's working grid",
        cases=len(found),
        mean_dsc=round(float(np.mean(list(dsc.values()))), 3),
        dsc=dsc,
    )


def _curve_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (curves.LOG, curves.PICTURE)}
