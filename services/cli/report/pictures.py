"""Pictures as data URIs."""

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.cli.report.colours import heat_rgba

WINDOW_HU = (-160.0, 240.0)


def ct_picture(hu: npt.NDArray[np.float32]) -> str:
    """A grey picture of HU in the abdominal window, as a data URI."""
    low, high = WINDOW_HU
    return _png(np.clip((hu - low) / (high - low) * 255, 0, 255).round().astype(np.uint8))


def heat_picture(heat: npt.NDArray[np.float32]) -> str:
    """A transparent picture of heat from 0 to 1, as a data URI; empty if nothing is hot."""
    return _png(heat_rgba(heat)) if heat.max(initial=0) > 0.01 else ""


def _png(pixels: npt.NDArray[Any]) -> str:
    image = Image.fromarray(pixels)
    if image.mode == "RGBA":
        # A palette keeps the soft overlay small; 64 colours are more than the scale shows.
        image = image.quantize(64, method=Image.Quantize.FASTOCTREE)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
