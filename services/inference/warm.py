"""Compiles the kernels of a prediction before the first request."""

from services.core import arrayfile, resample


def warm() -> None:
    """Bring a tiny CT to a grid, and read an answer, so that everything is compiled or loaded from the cache."""
    resample.warm()
    arrayfile.warm()
