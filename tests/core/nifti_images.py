"""NIfTI files made by nibabel, as tests of `services.core.nifti` read them."""

from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
import pytest

from services.core import nifti
from services.core.errors import AtlasError

nib: Any = nibabel  # its types are partial
Array = np.ndarray[Any, Any]
AFFINE = np.array([[0.7, 0.02, 0, -120.5], [-0.02, -0.7, 0.1, 80.25], [0, 0.1, 2.5, -300.125], [0, 0, 0, 1]])
HU = np.random.default_rng(7).integers(-1024, 1500, (7, 6, 5)).astype(np.int16)  # (z, y, x)


def image(data: Array, affine: Any = AFFINE, cls: type = nib.Nifti1Image, **fields: Any) -> Any:
    """A nibabel image of a (z, y, x) array with the header fields of `fields` set."""
    made = cls(data.T, affine)
    for name, value in fields.items():
        made.header[name] = value
    return made


def raw(made: Any) -> bytes:
    return bytes(made.to_bytes())


def refusal(source: Any, read: Callable[[Any], Any] = nifti.read_ct) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        read(source)
    return caught.value
