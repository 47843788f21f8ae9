"""What a source labelled in whatever organ it lies in, such as tumours, on its way to the organs."""

from collections import defaultdict
from dataclasses import replace

from services.core.alignment import Voxels
from services.core.datasets import Dataset
from services.core.geometry import Geometry
from services.core.scattered import Part, give_to_organs
from services.storage.label_plan import Plan

_TOLD = 20
"""How many parts a label version tells of one by one."""


def give_out(made: Plan, dataset: Dataset, label_map: Voxels, grid: Geometry) -> Plan:
    """Give each such part of a label map (k, j, i) on `grid` to the organ that it touches most, in place.

    Returns the plan with notes of where each went, and with what the organs that received one are made of now.
    """
    # All labels of an organ count together, and what it receives goes by its first one.
    first = {s.label: of[0].label for of in dataset.targets.values() for s in of}
    targets = {of[0].label: target for target, of in dataset.targets.items()}
    taken = {target.name for target in made.targets}
    notes = list(made.notes)
    more: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for structure in dataset.anywhere:
        parts = give_to_organs(label_map, structure.label, first, grid.spacing_mm)
        notes += [_told(structure.name, part, targets, taken) for part in parts[:_TOLD]]
        if smaller := parts[_TOLD:]:
            notes.append(f"{structure.name}: {len(smaller)} smaller parts were given out in the same way.")
        for target in sorted({targets[part.label] for part in parts if part.label}):
            more[target] += (structure.name,)
    return Plan(tuple(replace(t, structures=t.structures + more[t.name]) for t in made.targets), tuple(notes))


def _told(name: str, part: Part, targets: dict[int, str], taken: set[str]) -> str:
    if not part.label:
        return f"{name} of {part.voxels} voxels touches no organ and was left out."
    target = targets[part.label]
    told = f"{name} of {part.voxels} voxels counts as {target}, which shares {part.share:.0%} of its surface"
    return f"{told}." if target in taken else f"{told} and which is not taken."
