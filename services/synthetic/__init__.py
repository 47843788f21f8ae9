"""Synthetic abdominal CTs with true labels: for training the demonstration networks, the demo and the tests."""

from services.synthetic.cases import SyntheticCase, make_case, write_case

__all__ = ["SyntheticCase", "make_case", "write_case"]
