"""The synthetic cases of the demonstration, each labelled for some organs only, as public datasets are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.synthetic.cases import SyntheticCase

PROFILE = "demo"
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Patient:
    """One synthetic patient; `seed` is none that training draws from."""

    name: str
    seed: int
    dataset: str
    organs: tuple[str, ...]
    """Organs that the source labelled."""

    def draw(self) -> "SyntheticCase":
        """The CT and the truth; the same every time."""
        # The generator's libraries would double the start-up time of every other command.
        from services.synthetic.cases import make_case

        return make_case(self.seed, profile=PROFILE)

    def write(self, folder: Path) -> None:
        """Write the case as its source would have published it."""
        from services.synthetic.cases import write_case

        write_case(self.draw(), folder, self.organs)


PATIENTS = (
    Patient("synthetic_0001", 2_000_000_001, "synthetic-liver", ("liver",)),
    Patient("synthetic_0002", 2_000_000_002, "synthetic-kidneys", ("kidney_left", "kidney_right")),
    Patient("synthetic_0003", 2_000_000_003, "synthetic-pancreas", ("pancreas", "spleen")),
    Patient(
        "synthetic_0004",
        2_000_000_004,
        "synthetic-six",
        ("gall_bladder", "kidney_left", "kidney_right", "liver", "spleen", "stomach"),
    ),
    Patient("synthetic_0005", 2_000_000_005, "synthetic-unlabelled", ()),
)
