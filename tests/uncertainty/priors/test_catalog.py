"""The catalog says what the rules do, and docs/priors.md says what the catalog says."""

from pathlib import Path

import pytest

from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.uncertainty import warm as warming
from services.uncertainty.priors import blocks, catalog, faces, measures
from services.uncertainty.priors.findings import Severity
from services.uncertainty.priors.rules import neighbours, order, overlaps, sizes
from tests.uncertainty.priors.bodies import BODY, anatomy, arrays, findings

PAGE = Path(__file__).parents[3] / "docs" / "priors.md"


def row(prior: catalog.Prior) -> str:
    severity = Severity(prior.severity).name.lower()
    return f"| `{prior.name}` | {severity} | {prior.says} | {prior.threshold} | {prior.source} |"


def test_the_page_has_a_row_for_every_rule() -> None:
    """In the order of the catalog. What is missing can be taken from the message."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [row(prior) for prior in catalog.PRIORS]


def test_rules_are_found_by_name_in_the_order_of_the_catalog() -> None:
    assert catalog.find([]) == catalog.PRIORS
    assert [prior.name for prior in catalog.find(["leak", "sides_swapped", "leak"])] == ["sides_swapped", "leak"]
    with pytest.raises(AtlasError, match="no rule 'parrot'") as caught:
        catalog.find(["leak", "parrot"])
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_INVALID, "rules")


def test_rules_speak_of_organs_that_class_maps_have() -> None:
    """A misspelt organ would make a rule silent for ever."""
    organs = set(classmaps.load("abdomenatlas-1.1").organs)
    spoken = {organ for pair in overlaps.FORBIDDEN for organ in pair} | set(sizes.LIMITS_ML)
    spoken |= {organ for first, second, _ in neighbours.ADJACENT_MM for organ in (first, second)}
    spoken |= {organ for *_, pairs in order.ORDERS.values() for pair in pairs for organ in pair}
    assert spoken <= organs
    assert set(sizes.LIMITS_ML) == organs, "every organ has a range"


def test_the_start_compiles_every_kernel() -> None:
    """After it a first check meets no new signature."""
    warming.warm()
    kernels = (blocks._count, blocks._least_square, faces._faces, measures._measure)
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    assert findings(BODY) == []
    anatomy(arrays(BODY))
    assert [list(kernel.signatures) for kernel in kernels] == compiled
