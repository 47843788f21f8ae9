"""Names of a checkpoint against names of a network: what belongs together, what does not, and why."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from services.serving.card import Architecture

Shapes = Mapping[str, tuple[int, ...]]
Verdict = Literal["matched", "unused", "missing", "shape", "additional"]
_FAULTS: tuple[Verdict, ...] = ("missing", "shape", "additional")

_UNUSED: dict[Architecture, dict[str, str]] = {
    "genesis_unet": {
        r"\.bn1\.(running_mean|running_var|num_batches_tracked)$": "the network normalises by the volume in hand"
    },
    "prompted_unet": {
        r"\.bn1\.(running_mean|running_var|num_batches_tracked)$": "the network normalises by the volume in hand",
        r"^backbone\.out_tr\.": "the prompted heads stand in its place",
    },
    "prompted_swinunetr": {r"^backbone\.out\.": "the prompted heads stand in its place"},
    "unetr": {r"^vit\.patch_embedding\.cls_token$": "only classification uses it"},
}
"""Names that published checkpoints carry and their networks do not compute with, by regular expression."""
_IDLE: dict[Architecture, str] = {"unetr": r"\.norm_cross_attn\."}
"""Names that our version of a network carries and does not compute with: an older checkpoint lacks them."""
_RENAMED = {r"\.mlp\.fc([12])\.": r".mlp.linear\1.", r"(^|\.)_orig_mod\.": r"\1"}
"""Names that MONAI gave otherwise in an earlier version, or that torch.compile puts in between."""


@dataclass(frozen=True)
class Pairing:
    """One name: ours, theirs, both shapes, and what came of it."""

    ours: str
    theirs: str
    shape: tuple[int, ...]
    their_shape: tuple[int, ...]
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True)
class Matching:
    """What came of all names, ours first. `prefix` stands before every name of theirs, as in "module.backbone."."""

    prefix: str
    pairings: tuple[Pairing, ...]

    @property
    def faults(self) -> tuple[Pairing, ...]:
        """What keeps the weights from being taken."""
        return tuple(pairing for pairing in self.pairings if pairing.verdict in _FAULTS)

    def count(self, verdict: Verdict) -> int:
        """How many names came to this."""
        return sum(pairing.verdict == verdict for pairing in self.pairings)


def match(architecture: Architecture, ours: Shapes, theirs: Shapes) -> Matching:
    """Match by name, never by order. The prefix is the one under which most names are ours, the shortest of equals."""
    plain = {name: _renamed(name) for name in theirs}
    prefix = _prefix(ours, list(plain.values()))
    known = {new.removeprefix(prefix): name for name, new in plain.items() if new.startswith(prefix)}
    idle = _IDLE.get(architecture, "(?!)")
    pairings = [
        Pairing(name, "", shape, (), "unused", "the network does not compute with it")
        if name not in known and re.search(idle, name)
        else _pairing(name, shape, known.get(name, ""), theirs)
        for name, shape in ours.items()
    ]
    for name, shape in theirs.items():
        within = plain[name].removeprefix(prefix)
        if within in ours and known.get(within) == name:
            continue
        why = next((why for rule, why in _UNUSED.get(architecture, {}).items() if re.search(rule, within)), "")
        verdict: Verdict = "unused" if why else "additional"
        pairings.append(Pairing("", name, (), shape, verdict, why or "the network has no such tensor"))
    return Matching(prefix, tuple(pairings))


def _pairing(name: str, shape: tuple[int, ...], theirs: str, shapes: Shapes) -> Pairing:
    if not theirs:
        return Pairing(name, "", shape, (), "missing", "the file has no such tensor")
    found = shapes[theirs]
    if found != shape:
        return Pairing(name, theirs, shape, found, "shape", "the shapes differ")
    return Pairing(name, theirs, shape, found, "matched")


def _prefix(ours: Shapes, theirs: list[str]) -> str:
    """What stands before the first dot from which on a name is ours, in most of their names."""
    found = Counter(name[:start] for name in theirs for start in _starts(name) if name[start:] in ours)
    return max(found, key=lambda prefix: (found[prefix], -len(prefix)), default="")


def _starts(name: str) -> list[int]:
    return [0, *(place.end() for place in re.finditer(r"\.", name))]


def _renamed(name: str) -> str:
    for old, new in _RENAMED.items():
        name = re.sub(old, new, name)
    return name
