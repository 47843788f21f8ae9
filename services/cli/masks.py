"""Channels of masks and heat maps."""

from typing import cast

import numpy as np
import numpy.typing as npt

from services.core.arrayfile import ArrayFile
from services.core.errors import AtlasError, Reason


def uint8_channel(array: ArrayFile, name: str) -> npt.NDArray[np.uint8]:
    """One channel (k, j, i) of a uint8 array file. Raises ARRAY_FILE_CORRUPT if it holds another type."""
    if array.dtype != np.uint8:
        raise AtlasError(Reason.ARRAY_FILE_CORRUPT, f"uint8 was expected, this is {array.dtype}.", field=name)
    return cast(npt.NDArray[np.uint8], array.channel(name))
