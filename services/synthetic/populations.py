"""Who comes to a hospital: what differs between the patients of one and those of another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Population:
    """Chances and shapes that patients are drawn by."""

    phases: tuple[float, float, float, float] = (0.2, 0.2, 0.45, 0.15)
    """Chances of the contrast phases, in the order of `tissues.PHASES`."""
    stout: tuple[float, float] = (1.6, 2.2)
    """Parameters of the beta distribution between lean (0) and stout (1)."""
    size: float = 1.0
    """Mean factor of all lengths of the body."""
    fatty_liver: float = 0.2
    """Chance of a liver darker than the spleen."""
    liver_lesions: tuple[float, float, float] = (0.6, 0.25, 0.15)
    """Chances of none, one and three lesions in the liver."""
    no_gall_bladder: float = 0.05
    """Chance that it was taken out."""


GENERAL = Population()
