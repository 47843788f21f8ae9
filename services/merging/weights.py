"""What a model's word weighs."""

import math
from collections.abc import Sequence

HEAVIEST = 16
"""So that the sum over 16 models of weights times probabilities fits 16 bits."""
_BEST = 0.99
"""A DSC beyond it, which no reference is good enough to tell, weighs no more."""


def weights(reliabilities: Sequence[float]) -> tuple[int, ...]:
    """Whole weights, 0 to `HEAVIEST`, in proportion to the log odds ln(d / (1 - d)) of the DSC d of each model.

    Log odds are the best weights for votes that err independently (Nitzan and Paroush 1982). A model at or below 0.5
    weighs nothing, unless all of them do: then all weigh the same.
    """
    odds = [math.log(d / (1 - d)) if d > 0.5 else 0.0 for d in (min(dsc, _BEST) for dsc in reliabilities)]
    most = max(odds)
    if most == 0:
        return (1,) * len(odds)
    return tuple(max(1, round(HEAVIEST * value / most)) if value > 0 else 0 for value in odds)
