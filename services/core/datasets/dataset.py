"""What is known of one dataset."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.core import classmaps

VOCABULARY = classmaps.load("abdomenatlas-1.1").organs
"""The organs that a dataset may be mapped to; an import takes those of them that its class map has."""
PAIRS = {
    name: (f"{name}_left", f"{name}_right")
    for name in (organ.removesuffix("_left") for organ in VOCABULARY if organ.endswith("_left"))
}
"""Organs of which there are two, by what a source that did not tell them apart calls both: (left, right)."""


@dataclass(frozen=True)
class Structure:
    """One thing that the source labelled.

    `target` is the organ or the un-split pair that its voxels count for; empty if we have none. `is_part` tells that
    they are only a part of it, such as a tumour, which counts as the organ.
    """

    label: int
    name: str
    target: str = ""
    is_part: bool = False


@dataclass(frozen=True)
class Layout:
    """Where a release keeps images and labels, as paths below its folder without `.nii` or `.nii.gz`.

    `{case}` stands for the case's id; `labels` may hold `{structure}` too, where every structure is a file of its own.
    Without `labels` the images have none.
    """

    images: str
    labels: str = ""


@dataclass(frozen=True)
class Table:
    """A CSV file of the release that says more of its cases: the names of its columns."""

    file: str
    separator: str
    case: str
    hospital: str = ""
    licence: str = ""
    phase: str = ""


@dataclass(frozen=True)
class Dataset:
    """What a dataset's labels mean.

    `version` counts from 1 and rises with every change of what labels mean or of what the source looked for, so that
    labels which were imported by a mistaken map are told from those by the mended one.
    `looks_for` is "all" if the source looked for every structure in every case, so that one without voxels is absent,
    and "present" if it tells only of those that occur. `only_cases` is a regular expression for the ids of CTs, where a
    release holds other images too. `hospital` and `phase`, of the contrast agent, hold for all its cases. `unverified`
    names the facts that were not confirmed at the source, and why.
    """

    name: str
    version: int
    title: str
    source: str
    licence: str
    structures: tuple[Structure, ...]
    layouts: tuple[Layout, ...]
    looks_for: str = "all"
    only_cases: str = ""
    hospital: str = ""
    phase: str = ""
    table: Table | None = None
    unverified: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def targets(self) -> dict[str, tuple[Structure, ...]]:
        """What every organ or pair is made of, in order of label ids."""
        found: dict[str, tuple[Structure, ...]] = {}
        for structure in self.structures:
            if structure.target:
                found[structure.target] = (*found.get(structure.target, ()), structure)
        return found

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that a case of this dataset may be labelled with, in order of the vocabulary."""
        told = {organ for target in self.targets for organ in organs_of(target)}
        return tuple(organ for organ in VOCABULARY if organ in told)

    @property
    def by_label(self) -> dict[int, Structure]:
        """Structures by label id."""
        return {structure.label: structure for structure in self.structures}

    def structure(self, name: str) -> Structure | None:
        """The structure of that name, if the dataset has one."""
        return next((structure for structure in self.structures if structure.name == name), None)


def organs_of(target: str) -> tuple[str, ...]:
    """The organs that a target stands for: itself, or left and right of a pair."""
    return PAIRS.get(target, (target,))


def targets_within(dataset: Dataset, organs: Iterable[str]) -> tuple[str, ...]:
    """The targets of `dataset` of which at least one organ is among `organs`, in order of label ids."""
    wanted = set(organs)
    return tuple(target for target in dataset.targets if wanted & set(organs_of(target)))
