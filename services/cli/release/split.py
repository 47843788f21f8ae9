"""Which cases of a release are for training and which for testing: by lot, with duplicates on one side."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

TRAIN, TEST = "train", "test"
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Lot:
    """The share of the cases that are for testing, from 0 to 1, and what else the lot depends on."""

    test_share: float = TEST_SHARE
    seed: int = 0


def split(digests: Mapping[str, str], groups: Iterable[Sequence[str]], lot: Lot) -> dict[str, str]:
    """The side of each volume, by name.

    `digests` names what each volume shows, `groups` the volumes that show the same scan. Groups are taken in the order
    of a hash of the seed and of what they show, and are for testing until `test_share` of the volumes is reached; one
    that would overshoot it by more than it lacks is not. The result depends on neither names nor order.
    """
    together = {volume: min(digests[one] for one in group if one in digests)
                for group in groups for volume in group if volume in digests}  # fmt: skip
    members: dict[str, list[str]] = {}
    for volume, digest in digests.items():
        members.setdefault(together.get(volume, digest), []).append(volume)
    wanted = lot.test_share * len(digests)
    sides = dict.fromkeys(digests, TRAIN)
    taken = 0
    for digest in sorted(members, key=lambda digest: hashlib.sha256(f"{lot.seed} {digest}".encode()).digest()):
        if abs(taken + len(members[digest]) - wanted) <= abs(taken - wanted):
            sides |= dict.fromkeys(members[digest], TEST)
            taken += len(members[digest])
    return sides
