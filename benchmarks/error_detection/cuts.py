"""What other thresholds would show: the calibrated regions from each probability on, with the CT and without."""

from collections.abc import Sequence
from math import floor

import numpy as np

from benchmarks.error_detection.cases import LabelCase
from benchmarks.error_detection.judging import Counts, Errors, judge
from benchmarks.error_detection.methods import whole
from services.core.ensemble import Ensemble
from services.uncertainty import calibrated, calibration

SHOWN_FROM = (0.5, 0.3, 0.2, 0.1, 0.07, 0.05, 0.03)
Cut = tuple[bool, float]
"""Whether the CT was read, and the least probability that is shown."""


def cuts(case: LabelCase, ensemble: Ensemble, errors: dict[str, Errors]) -> dict[Cut, dict[str, Counts]]:
    """The counts by organ of every cut; with a CT only if the case has one.

    Regions are cut by the stored heat, in whole steps of 1 / 255.
    """
    organs: Sequence[str] = list(errors)
    constants = calibration.load().model_copy(update={"least_probability": min(SHOWN_FROM)})
    found: dict[Cut, dict[str, Counts]] = {}
    for ct in (None,) if case.ct is None else (None, case.ct):
        for attention in calibrated.attend(ensemble, organs, None, ct, constants):
            organ = attention.score.organ
            heat = whole(attention.heat, ensemble)
            for least in SHOWN_FROM:
                shown = np.asarray(heat >= max(1, floor(255 * least)))
                found.setdefault((ct is not None, least), {})[organ] = judge(errors[organ], shown, case.geometry)
    return found
