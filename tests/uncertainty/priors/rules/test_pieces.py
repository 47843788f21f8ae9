"""Rules on organs in pieces, and with holes, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import numpy as np
import pytest

from services.uncertainty.priors import catalog
from services.uncertainty.priors.findings import Severity
from tests.uncertainty.priors.bodies import (
    BODY,
    anatomy,
    arrays,
    ball,
    body,
    box,
    findings,
    only,
    told,
)


def test_in_pieces() -> None:
    """A cube of 9 mm, 0.729 ml, beside the spleen; a single voxel of 0.027 ml is not told."""
    extra = (box(-61.5, 40.5, 331.5, 4.5, 4.5, 4.5), box(-61.5, 40.5, 376.5, 1.5, 1.5, 1.5))
    found = findings(body(spleen=(*BODY["spleen"], *extra)), "in_pieces")
    (finding,) = found
    assert finding.severity == Severity.NOTICE
    assert finding.evidence == {
        "pieces": 2.0,
        "extra_ml": pytest.approx(0.729),
        "largest_extra_ml": pytest.approx(0.729),
        "gap_mm": pytest.approx(63, abs=15),
    }
    (large,) = findings(body(spleen=(*BODY["spleen"], ball(-60, 40, 330, 12))), "in_pieces")
    assert large.severity == Severity.WARNING
    assert findings(body(colon=(*BODY["colon"], ball(0, 40, 100, 9))), "in_pieces") == []


def test_pieces_may_be_joined_beyond_the_field_of_view() -> None:
    """Two columns that both reach the top face; a third one does not."""
    columns = (box(-60, 0, 390, 15, 15, 30), box(0, 0, 405, 12, 12, 15))
    assert told({"spleen": columns}, "in_pieces") == {}
    assert told({"spleen": (*columns, box(60, 0, 380, 12, 12, 12))}, "in_pieces")[("spleen",)]["pieces"] == 2


def test_hollow() -> None:
    """A hole of 3 x 3 x 3 voxels is 0.729 ml; filled by another organ, or open to a side, it is none."""
    masks = arrays(only(BODY, "liver"))
    middle = (slice(85, 88), slice(40, 43), slice(70, 73))
    masks["liver"][middle] = 0
    (finding,) = catalog.find(["hollow"])[0].rule(anatomy(masks))
    assert finding.evidence == {"holes": 1.0, "hole_ml": pytest.approx(0.729)}
    masks["hepatic_vessel"] = np.zeros_like(masks["liver"])
    masks["hepatic_vessel"][middle] = 1
    assert list(catalog.find(["hollow"])[0].rule(anatomy(masks))) == []
    masks["liver"][85:88, 40:43, 73:] = 0
    del masks["hepatic_vessel"]
    assert list(catalog.find(["hollow"])[0].rule(anatomy(masks))) == []
