"""`python -m services.serving.training train models/unet`, or `tune`; under torchrun on several GPUs.

Cases come from storage, which ATLAS_STORAGE names (with ATLAS_CA, ATLAS_CERT and ATLAS_KEY the call is encrypted and
shows who asks), or are drawn: synthetic patients. The last line is one JSON object: the version that
was added, and whether its comparison with the one that is served lets it be promoted.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from services.core.errors import AtlasError, Reason
from services.core.modelversions import newest
from services.core.storage import Storage
from services.serving.card import load_card, load_version
from services.serving.fetch import storage_of_environment
from services.serving.training import job, selection, synthetic
from services.serving.training.cache import CaseCache
from services.serving.training.distributed import joined
from services.serving.training.job import Plan
from services.serving.training.loop import Budget
from services.serving.training.selection import Data


def main() -> None:
    """Run the command; end with the reason if it cannot be done."""
    arguments = _arguments().parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        with joined() as group:
            if arguments.command == "tune":
                plan, data = _tuning(arguments)
            else:
                plan, data = _training(arguments, group.leads)
            result = job.train(plan, data, group)
    except AtlasError as error:
        raise SystemExit(f"{error.reason}: {error}") from None
    if result:
        print(json.dumps(vars(result)))


def _training(arguments: argparse.Namespace, leads: bool) -> tuple[Plan, Data]:
    card = load_card(arguments.folder)
    if "ATLAS_STORAGE" in os.environ:
        data = selection.labelled(_storage(), card, arguments.volumes, arguments.held_out)
    else:
        data = selection.synthetic_patients(arguments.synthetic)
        if leads:
            synthetic.draw(_cache(arguments), [*data.cases, *data.held_out], arguments.threads)
    return _plan(arguments, 1e-3, arguments.organs or card.organs, replaces=arguments.replace), data


def _tuning(arguments: argparse.Namespace) -> tuple[Plan, Data]:
    card = load_version(arguments.folder, newest(arguments.folder))
    data, revised = selection.revisions(_storage(), card, arguments.volumes, arguments.held_out)
    organs = tuple(arguments.organs or revised)
    if not arguments.whole:
        return _plan(arguments, 2e-3, organs, heads=organs, goes_on=True), data
    data, learned = selection.labelled_organs(data, card)
    return _plan(arguments, 2e-4, learned, answers_for=organs, goes_on=True), data


def _plan(arguments: argparse.Namespace, rate: float, organs: Sequence[str], **others: object) -> Plan:
    budget = Budget(arguments.epochs, None if arguments.epochs else arguments.minutes, arguments.steps, arguments.batch)
    return Plan(
        folder=arguments.folder,
        runs=arguments.cache / "runs",
        cache=_cache(arguments),
        budget=budget,
        seed=arguments.seed,
        rate=arguments.rate or rate,
        organs=tuple(organs),
        margin=arguments.margin,
        promotes=arguments.promote,
        **others,  # type: ignore[arg-type]
    )


def _cache(arguments: argparse.Namespace) -> CaseCache:
    return CaseCache(arguments.cache / "cases", int(arguments.cache_gib * 2**30))


def _storage() -> Storage:
    if "ATLAS_STORAGE" not in os.environ:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            "Where storage is must be said.",
            field="ATLAS_STORAGE",
            remedy="Set it to host:port.",
        )
    return storage_of_environment()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.serving.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="from the beginning")
    train.add_argument("--synthetic", type=int, default=400, help="synthetic patients, where ATLAS_STORAGE is not set")
    train.add_argument("--replace", action="store_true", help="write version 1 anew, of a model that is not served")
    tune = commands.add_parser("tune", help="the served version, on revisions in storage")
    tune.add_argument("--whole", action="store_true", help="all weights, not only the heads of the revised organs")
    for command, rate in ((train, "1e-3"), (tune, "2e-3, of the whole network 2e-4")):
        command.add_argument("folder", type=Path, help="the model's folder, with its card")
        command.add_argument(
            "--promote", action="store_true", help="have a version that lost nothing served when Triton starts next"
        )
        command.add_argument("--volumes", nargs="+", help='volumes in storage, "volumes/x"; all if none is named')
        command.add_argument("--organs", nargs="+", help="organs to learn; default: the card's, or those revised")
        command.add_argument(
            "--margin",
            type=float,
            default=0.0,
            help="DSC that an organ may lose and still pass the gate; 0.001 at least",
        )
        command.add_argument("--held-out", type=float, default=0.2, help="share of volumes nothing is trained on")
        command.add_argument("--minutes", type=float, default=25, help="time of training, measuring not counted")
        command.add_argument("--epochs", type=int, help="instead of minutes; only so is a run the same twice")
        command.add_argument("--steps", type=int, default=250, help="steps of an epoch; a kill loses at most one epoch")
        command.add_argument("--batch", type=int, default=1, help="crops of a step, on every device")
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--rate", type=float, help=f"peak learning rate; default: {rate}")
        command.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads")
        command.add_argument("--cache", type=Path, default=Path("build/training"), help="cases, runs and their curves")
        command.add_argument("--cache-gib", type=float, default=20, help="what the cases may take")
    return parser


if __name__ == "__main__":
    main()
