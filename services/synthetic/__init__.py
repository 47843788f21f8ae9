"""Synthetic abdominal CTs with true labels: for training the demonstration networks, the demo and the tests."""

from services.synthetic.cases import SyntheticCase, make_case, write_case
from services.synthetic.profiles import HOSPITALS

__all__ = ["HOSPITALS", "SyntheticCase", "make_case", "write_case"]
