"""A model's answer is checked before anybody builds on it."""

from services.core import arrayfile
from services.core.arrayfile import ArrayFile
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry


def open_answer(data: bytes, organs: tuple[str, ...], grid: Geometry, model: str) -> ArrayFile:
    """The array file in `data`: whole, uint8, one channel per organ in the card's order, on `grid`.

    Raises MODEL_ANSWER_INVALID, which says what is wrong.
    """
    if not data:
        raise _invalid(model, "is empty", "Triton's Python must have NumPy 1.26: under NumPy 2 all answers are empty.")
    try:
        array = arrayfile.decode(data)
        if array.channels != organs:
            raise _invalid(model, f"has the channels {list(array.channels)}, its card says {list(organs)}")
        if array.dtype.name != "uint8":
            raise _invalid(model, f"holds {array.dtype.name}, not uint8")
        if array.geometry.digest != grid.digest:
            raise _invalid(model, f"lies on {array.geometry}; the CT was given on {grid}")
        array.require_whole()
    except AtlasError as error:
        if error.reason is Reason.MODEL_ANSWER_INVALID:
            raise
        raise _invalid(model, f"cannot be read: {error.message}") from error
    return array


def _invalid(model: str, fault: str, remedy: str = "Mend the model and load it again.") -> AtlasError:
    return AtlasError(Reason.MODEL_ANSWER_INVALID, f"The answer of {model} {fault}.", field="model", remedy=remedy)
