"""Measure models and write what they reach into their cards: `python -m services.serving.evaluate models/*`.

The whole way is measured: CT -> network grid -> network -> p > 0.5 on the CT's own grid, against the reference there.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from services.core import metrics
from services.core.geometry import network_grid
from services.core.resample import to_ct_mask, to_grid
from services.serving.card import Agreement, Card, load_card, save_card
from services.serving.networks import load_network
from services.serving.prediction import probability_slabs
from services.serving.references import Reference, real_references, synthetic_references
from services.serving.repository import CPU_THREADS
from services.serving.runtime import on_cpu
from services.serving.sliding import Run


def organ_dsc(run: Run, card: Card, reference: Reference) -> dict[str, float]:
    """DSC by organ on the CT's own grid, for the organs that the reference has voxels of."""
    grid = network_grid(reference.geometry, card.grid_spacing_mm)
    scores = {}
    ct = to_grid(reference.ct, reference.geometry, grid)
    stored_by_organ = np.concatenate(list(probability_slabs(run, ct, card)), axis=1)
    for organ, stored in zip(card.organs, stored_by_organ, strict=True):
        truth = reference.masks.get(organ)
        if truth is None or not truth.any():
            continue
        mask = to_ct_mask([(0, stored[None])], grid, reference.geometry, weights=[1])
        scores[organ] = metrics.dsc(mask.whole(truth.shape), truth)
    return scores


def agreement(name: str, scores: list[dict[str, float]]) -> Agreement:
    """The mean by organ over cases, and over organs."""
    organs = sorted({organ for score in scores for organ in score})
    means = {organ: round(float(np.mean([score[organ] for score in scores if organ in score])), 3) for organ in organs}
    return Agreement(
        reference=name, cases=len(scores), mean_dsc=round(float(np.mean(list(means.values()))), 3), dsc=means
    )


def evaluate(folders: list[Path], seeds: range, real_data: Path | None) -> None:
    """Measure all models on all references and write the results into their cards."""
    cards = [load_card(folder) for folder in folders]
    networks = [
        on_cpu(load_network(folder, card), card, CPU_THREADS) for folder, card in zip(folders, cards, strict=True)
    ]
    scores: dict[str, dict[str, list[dict[str, float]]]] = {card.name: {} for card in cards}
    references = synthetic_references(seeds)
    for reference in [references, real_references(real_data)] if real_data else [references]:
        for one in reference:
            for card, network in zip(cards, networks, strict=True):
                began = time.monotonic()
                found = organ_dsc(network, card, one)
                scores[card.name].setdefault(one.name, []).append(found)
                seconds = time.monotonic() - began
                print(
                    f"{one.name}: {card.name} {np.mean(list(found.values())):.3f} in {seconds:.1f} s {found}",
                    flush=True,
                )
    for folder, card in zip(folders, cards, strict=True):
        reaches = tuple(agreement(name, found) for name, found in scores[card.name].items())
        save_card(folder, card.model_copy(update={"reaches": reaches}))
        print(f"{card.name}: " + "; ".join(f"{one.reference} {one.mean_dsc}" for one in reaches))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m services.serving.evaluate", description=evaluate.__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="model folders with trained weights")
    parser.add_argument("--cases", type=int, default=8, help="unseen synthetic patients")
    parser.add_argument(
        "--seed", type=int, default=100, help="seed of the first; training uses 1000 and up, validation 900 to 907"
    )
    parser.add_argument("--real-data", type=Path, help="folder with ts_example_3mm and ircad3d_17, to be measured too")
    arguments = parser.parse_args()
    evaluate(arguments.folders, range(arguments.seed, arguments.seed + arguments.cases), arguments.real_data)


if __name__ == "__main__":
    main()
