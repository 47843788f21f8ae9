"""Colours of the report: one per organ, the same in every report, and the scale of the heat."""

import colorsys
from typing import cast

import numpy as np
import numpy.typing as npt

_ORGANS = {
    "aorta": "#ff5c5c",
    "gall_bladder": "#8be04e",
    "kidney_left": "#ffb02e",
    "kidney_right": "#ffe45c",
    "liver": "#e58a5b",
    "pancreas": "#ff7ad9",
    "postcava": "#5aa9ff",
    "spleen": "#b08cff",
    "stomach": "#2fd9c4",
}
# Hue turns by the golden angle: neighbours in the list are far apart in colour.
_GOLDEN_TURN = 0.381966

# Heat from low to high; transparent below the first stop, so that the CT shows through.
HEAT_STOPS = ((0.0, (88, 28, 135)), (0.35, (214, 40, 86)), (0.7, (251, 140, 40)), (1.0, (255, 241, 140)))


def organ_colour(organ: str, index: int = 0) -> str:
    """CSS colour of an organ; one that has no colour of its own gets one from its place in the class map."""
    if organ in _ORGANS:
        return _ORGANS[organ]
    red, green, blue = colorsys.hls_to_rgb(index * _GOLDEN_TURN % 1.0, 0.66, 0.8)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def heat_rgba(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """RGBA picture of heat from 0 to 1, (rows, columns, 4); no heat is transparent."""
    positions = [position for position, _ in HEAT_STOPS]
    channels = [np.interp(heat, positions, [colour[c] for _, colour in HEAT_STOPS]) for c in range(3)]
    alpha = np.where(heat > 0.01, np.clip(0.45 + 0.5 * heat, 0, 0.95) * 255, 0)
    return cast(npt.NDArray[np.uint8], np.stack([*channels, alpha], axis=2).round().astype(np.uint8))


def heat_gradient() -> str:
    """The heat scale as a CSS gradient, for the legend."""
    stops = ", ".join(f"rgb{colour} {position:.0%}" for position, colour in HEAT_STOPS)
    return f"linear-gradient(90deg, {stops})"
