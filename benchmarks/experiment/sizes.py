"""How large the experiment is, and the networks that take part."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from services.core import classmaps
from services.serving.card import Card, Network, Triple

ORGANS = classmaps.load("abdomenatlas-1.0").organs
HOME = "portal"
"""The hospital that the networks come from."""

_UNETS: dict[str, dict[str, Any]] = {
    "unet": {"channels": [8, 16, 32, 48], "strides": [2, 2, 2], "num_res_units": 1},
    "wide": {"channels": [16, 32, 64], "strides": [2, 2], "num_res_units": 1},
    "deep": {"channels": [8, 16, 32, 64, 96], "strides": [2, 2, 2, 2], "num_res_units": 2},
}
"""Three U-Nets that differ in width and depth: all that three networks of other kinds would differ in, at a tenth of
their cost on a CPU."""


@dataclass(frozen=True)
class Size:
    """Cases, rounds and steps of one experiment. `pool`, `gate` and `test` count cases by hospital."""

    home: int = 40
    pool: Mapping[str, int] = field(
        default_factory=lambda: {"portal": 4, "native": 2, "arterial": 2, "stout": 2, "surgery": 2}
    )
    gate: Mapping[str, int] = field(
        default_factory=lambda: {"portal": 2, "native": 2, "arterial": 2, "stout": 2, "surgery": 2}
    )
    test: Mapping[str, int] = field(
        default_factory=lambda: {"portal": 2, "native": 2, "arterial": 2, "stout": 2, "surgery": 2}
    )
    per_round: int = 1
    rounds: int = 3
    start_steps: int = 900
    tune_steps: int = 60
    grid_mm: float = 2.5
    factor: int = 3
    window: Triple = (32, 48, 48)

    @property
    def volumes(self) -> int:
        """Cases of a campaign."""
        return sum(self.pool.values())

    @property
    def digest(self) -> str:
        """Short digest of everything that results follow from: what another size left on disk is never taken up."""
        return hashlib.sha256(repr((asdict(self), _UNETS)).encode()).hexdigest()[:12]

    def cards(self) -> list[Card]:
        """The networks' cards, which see a whole abdomen at once, at a coarse spacing."""
        return [
            Card(
                name=name,
                label="experiment-1",
                summary="A small U-Net.",
                intended_use="This experiment.",
                network=Network(architecture="unet", arguments={**arguments, "norm": "instance"}),
                class_map="abdomenatlas-1.0",
                organs=ORGANS,
                grid_spacing_mm=self.grid_mm,
                working_factor=self.factor,
                hu_window=(-175, 250),
                window=self.window,
                overlap=0.25,
                cpu_runtime="torch",
            )
            for name, arguments in _UNETS.items()
        ]


SIZES = {
    "default": Size(),
    "tiny": Size(
        home=2,
        pool={"portal": 1, "arterial": 1, "stout": 1},
        gate={"portal": 1},
        test={"stout": 1},
        per_round=1,
        rounds=1,
        start_steps=60,
        tune_steps=2,
        window=(16, 32, 32),
    ),
}
