"""Comparing label versions over the wire, against surface-distance, and from the command line."""

import json
import warnings
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from abdomenatlas.merging.v1 import merging_pb2 as pb
from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from services.cli.commands import comparing as command
from services.core.boxes import Mask
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.storage import Storage
from services.merging.comparing import compare
from tests.components.case import Case, new_case
from tests.contract.service_process import ServiceProcess

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import surface_distance

CT = Geometry((60, 50, 20), (-0.9, 0.0, 0.0, 30.0, 0.0, -1.1, 0.0, 25.0, 0.0, 0.0, 3.0, -100.0))


def ball(radius_mm: float, shift_mm: float = 0.0) -> Mask:
    k, j, i = np.ogrid[:20, :50, :60]
    where = ((i - 30) * 0.9 - shift_mm) ** 2 + ((j - 25) * 1.1) ** 2 + ((k - 10) * 3.0) ** 2
    return np.asarray(where <= radius_mm**2, np.uint8)


NOTHING = np.zeros(CT.array_shape, np.uint8)
FIRST = {"liver": ball(20), "spleen": ball(10), "aorta": ball(8), "gall_bladder": NOTHING, "stomach": ball(6)}
SECOND = {"liver": ball(19, 2), "spleen": NOTHING, "aorta": ball(8), "gall_bladder": NOTHING, "pancreas": ball(9)}


@pytest.fixture(scope="module")
def case(storage: Storage) -> Case:
    return new_case(storage, "compared", CT)


@pytest.fixture(scope="module")
def versions(case: Case) -> tuple[str, str]:
    return case.label(storage_pb.ORIGIN_SOURCE, FIRST), case.label(storage_pb.ORIGIN_REVISION, SECOND)


def compared(stub: MergingServiceStub, **request: Any) -> pb.LabelComparison:
    *progress, last = stub.Compare(pb.CompareRequest(**request))
    fractions = [message.progress.fraction for message in progress]
    assert fractions == sorted(fractions)
    assert {message.progress.stage for message in progress} <= {"queued", "reading", "comparing"}
    return last.comparison


def test_two_versions_are_compared_organ_by_organ(stub: MergingServiceStub, versions: tuple[str, str]) -> None:
    first, second = versions
    found = compared(stub, first=first, second=second, organ_tolerances_mm={"aorta": 0.5})
    assert (found.first, found.second) == versions
    organs = {organ.organ: organ for organ in found.organs}
    assert list(organs) == ["aorta", "gall_bladder", "liver", "spleen"]
    assert (list(found.only_first), list(found.only_second)) == (["stomach"], ["pancreas"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = surface_distance.compute_surface_distances(
            FIRST["liver"] > 0, SECOND["liver"] > 0, CT.spacing_mm[::-1]
        )
    liver = organs["liver"]
    assert liver.dsc == pytest.approx(
        surface_distance.compute_dice_coefficient(FIRST["liver"] > 0, SECOND["liver"] > 0), abs=1e-9
    )
    assert liver.nsd == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(theirs, 1.0), abs=1e-9)
    assert liver.hd95_mm == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95), rel=1e-6)
    assert liver.first_ml == pytest.approx(FIRST["liver"].sum() * 0.9 * 1.1 * 3 / 1000)
    assert 0 < liver.second_ml < liver.first_ml
    assert (organs["aorta"].dsc, organs["aorta"].nsd, organs["aorta"].tolerance_mm) == (1, 1, 0.5)
    assert liver.tolerance_mm == 1


def test_empty_masks_have_no_distance_and_two_of_them_no_agreement(
    stub: MergingServiceStub, versions: tuple[str, str]
) -> None:
    found = compared(stub, first=versions[0], second=versions[1], organs=["spleen", "gall_bladder"])
    gall_bladder, spleen = found.organs
    assert not any(gall_bladder.HasField(field) for field in ("dsc", "nsd", "hd95_mm"))
    assert (spleen.dsc, spleen.nsd, spleen.second_ml) == (0, 0, 0)
    assert spleen.HasField("dsc")
    assert not spleen.HasField("hd95_mm")


def test_a_wider_tolerance_forgives_more(stub: MergingServiceStub, versions: tuple[str, str]) -> None:
    def liver_nsd(tolerance_mm: float) -> float:
        found = compared(stub, first=versions[0], second=versions[1], organs=["liver"], tolerance_mm=tolerance_mm)
        return found.organs[0].nsd

    assert 0 < liver_nsd(0) < liver_nsd(1) < liver_nsd(5) == 1


def test_what_does_not_belong_together_is_refused(
    stub: MergingServiceStub, case: Case, versions: tuple[str, str]
) -> None:
    first, second = versions
    foreign = new_case(case.storage, "foreign", CT, seed=1).label(storage_pb.ORIGIN_SOURCE, SECOND)
    wrong: list[tuple[dict[str, Any], Reason, str]] = [
        ({"first": first, "second": foreign}, Reason.FIELD_INVALID, "second"),
        ({"first": "volumes/x", "second": second}, Reason.NAME_INVALID, "first"),
        ({"first": first, "second": ""}, Reason.FIELD_REQUIRED, "second"),
        ({"first": first, "second": second, "organs": ["stomach"]}, Reason.ORGAN_UNKNOWN, "organs"),
        ({"first": first, "second": second, "organs": ["x"] * 300}, Reason.FIELD_INVALID, "organs"),
        ({"first": first, "second": second, "tolerance_mm": -1}, Reason.FIELD_INVALID, "tolerance_mm"),
        (
            {"first": first, "second": second, "organ_tolerances_mm": {"liver": 99}},
            Reason.FIELD_INVALID,
            "organ_tolerances_mm[liver]",
        ),
    ]
    for request, reason, field in wrong:
        with pytest.raises(AtlasError) as caught:
            compared(stub, **request)
        assert (caught.value.reason, caught.value.field) == (reason, field), request


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(case: Case, versions: tuple[str, str]) -> None:
    request = pb.CompareRequest(first=versions[0], second=versions[1])
    with pytest.raises(AtlasError) as caught:
        compare(case.storage, MemoryGate(2**16), request, lambda *_: None)
    assert caught.value.reason == Reason.VOLUME_TOO_LARGE


def test_the_command_shows_what_the_service_says(
    merging_process: ServiceProcess,
    stub: MergingServiceStub,
    versions: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATLAS_MERGING", merging_process.address)
    app = typer.Typer()
    command.register(app)
    arguments = [*versions, "--tolerance", "2", "--tolerance", "aorta=0.5", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    rows = {row["organ"]: row for row in told["rows"]}
    found = compared(stub, first=versions[0], second=versions[1], tolerance_mm=2, organ_tolerances_mm={"aorta": 0.5})
    for organ in found.organs:
        row = rows.pop(organ.organ)
        assert row["dsc"] == (organ.dsc if organ.HasField("dsc") else None)
        assert row["nsd"] == (organ.nsd if organ.HasField("nsd") else None)
        assert row["hd95_mm"] == (organ.hd95_mm if organ.HasField("hd95_mm") else None)
        assert (row["tolerance_mm"], row["first_ml"]) == (organ.tolerance_mm, organ.first_ml)
        assert row["case"] == "compared"
    assert not rows
    counts = {organ["organ"]: (organ["cases"], organ["absent"], organ["missed"]) for organ in told["organs"]}
    assert counts == {"aorta": (1, 0, 0), "gall_bladder": (0, 1, 0), "liver": (1, 0, 0), "spleen": (1, 0, 1)}
    assert "stomach" in result.stderr
    assert "pancreas" in result.stderr
