"""Which organ of ours a foreign network's channel is, by what its author called it."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from services.core import datasets
from services.core.errors import AtlasError, Reason
from services.serving.card import Outputs

_PUBLISHED = {
    "arota": "aorta",
    "ivc": "postcava",
    "left_kideny": "kidney_left",
    "portal_and_splenic_veins": "portal_vein_and_splenic_vein",
    "celiac_truck": "celiac_trunk",
    "left_head_of_femur": "femur_left",
    "right_head_of_femur": "femur_right",
    "right_lung": "lung_right",
    "left_lung": "lung_left",
}
"""Names, misspelt ones too, of published networks that no dataset's map knows."""


def channels_by_organ(names: Mapping[int, str], chosen: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Channels of each organ of ours, in the order of the channels. `names` are theirs by channel.

    A name counts as the organ that the product's maps of public datasets agree on; parts of an organ, such as lobes,
    are channels of it. `chosen` overrides: organ of ours -> name or number of the channel. Raises CLASS_MAP_MISMATCH.
    """
    by_name = {_plain(name): channel for channel, name in names.items()}
    found: dict[str, list[int]] = {}
    for channel, name in sorted(names.items()):
        organ = organ_of(name)
        if organ and organ not in chosen:
            found.setdefault(organ, []).append(channel)
    for organ, wanted in chosen.items():
        channel = int(wanted) if wanted.isdecimal() else by_name.get(_plain(wanted), -1)
        if channel < 0:
            raise AtlasError(
                Reason.CLASS_MAP_MISMATCH,
                f"No channel is called {wanted[:80]!r}.",
                field="--organ",
                remedy=f"There are: {_listed(names.values())}. A channel's number does as well.",
            )
        for others in found.values():
            if channel in others:
                others.remove(channel)
        found[organ] = [channel]
    return {organ: tuple(channels) for organ, channels in found.items() if channels}


def require_organs(channels: dict[str, tuple[int, ...]], names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """`channels`, if there is any. Raises CLASS_MAP_MISMATCH naming what the network knows."""
    if not channels:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"None of its classes is an organ of ours: {_listed(names)}.",
            field="classes",
            remedy="Say which is which with --organ, such as --organ liver=1.",
        )
    return channels


def labelled(dataset: str, count: int) -> Outputs:
    """The outputs of a network of `count` channels that follow the label ids of a dataset or class map.

    As many channels as the highest id: one sigmoid an id from 1. One more: softmax, and channel 0 is the background.
    Raises CLASS_MAP_MISMATCH.
    """
    structures = datasets.load(dataset).by_label
    highest = max(structures)
    if count not in (highest, highest + 1):
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"The network has {count} channels; {dataset} has labels up to {highest}.",
            field="--labels",
            remedy="Name the dataset that it was trained on, or each organ's channel with --organ.",
        )
    is_softmax = count == highest + 1
    organs: dict[str, list[int]] = {}
    for label, structure in structures.items():
        if structure.target and structure.target not in datasets.PAIRS and (is_softmax or not structure.is_part):
            organs.setdefault(structure.target, []).append(label if is_softmax else label - 1)
    channels = {organ: tuple(some) for organ, some in organs.items()}
    return Outputs(activation="softmax" if is_softmax else "sigmoid", count=count, channels=channels)


def organ_of(name: str) -> str:
    """The organ of ours that a name stands for, "" if none or more than one."""
    return _known().get(_plain(name), "")


@cache
def _known() -> dict[str, str]:
    targets: dict[str, set[str]] = {name: {organ} for name, organ in _PUBLISHED.items()}
    for dataset in map(datasets.load, datasets.names()):
        for structure in dataset.structures:
            targets.setdefault(_plain(structure.name), set()).add(structure.target)
    return {
        name: next(iter(found))
        for name, found in targets.items()
        if len(found) == 1 and not found & {"", *datasets.PAIRS}
    }


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _listed(names: Iterable[str]) -> str:
    some = [str(name)[:40] for name in names]
    return ", ".join(some[:30]) + (" ..." if len(some) > 30 else "")
