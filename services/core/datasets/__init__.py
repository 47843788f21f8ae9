"""Datasets as people have them: what their ids mean, what they looked for, how their folders look.

One YAML file a dataset in `maps/`; every class map of the product is a dataset too, of its own release.
"""

from services.core.datasets.dataset import PAIRS, VOCABULARY, Dataset, Layout, Structure, Table
from services.core.datasets.reading import load, names, parse

__all__ = ["PAIRS", "VOCABULARY", "Dataset", "Layout", "Structure", "Table", "load", "names", "parse"]
