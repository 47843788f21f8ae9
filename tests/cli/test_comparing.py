"""`atlas compare` on folders of masks, in both layouts, and what it refuses."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from services.cli.commands import comparing
from services.cli.comparison.output import as_data, organ_table
from services.cli.comparison.rows import Row
from services.core import metrics, nifti
from services.core.boxes import Mask
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.metrics import Agreement

Write = Callable[..., Path]
runner = CliRunner()


def grid(slice_mm: float = 1.0, shift_mm: float = 0.0) -> Geometry:
    matrix = np.diag([-0.9, -0.8, slice_mm, 1.0])
    matrix[:3, 3] = 3.5 + shift_mm, -20.25, 100.1
    return Geometry.from_matrix((30, 28, 16), matrix)


def block(start: int, stop: int) -> Mask:
    mask = np.zeros((16, 28, 30), np.uint8)
    mask[3:12, start:stop, 5:20] = 1
    return mask


GRID = grid()
NOTHING = np.zeros((16, 28, 30), np.uint8)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the masks of one case; `flat` without `segmentations/`."""

    def write(side: str, case: str, masks: Mapping[str, Mask], where: Geometry = GRID, flat: bool = False) -> Path:
        folder = tmp_path / side / case / ("" if flat else "segmentations")
        folder.mkdir(parents=True, exist_ok=True)
        for organ, mask in masks.items():
            nifti.write_mask(folder / f"{organ}.nii.gz", mask, where)
        return tmp_path / side

    return write


def atlas(*arguments: object) -> Any:
    """Run the command; refusals come out as they are raised."""
    app = typer.Typer()
    comparing.register(app)
    result = runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if isinstance(result.exception, AtlasError):
        raise result.exception
    return result


def compared(*arguments: object) -> Any:
    result = atlas(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_two_folders_are_compared_case_by_case_whatever_their_layout(write: Write) -> None:
    for number in range(3):
        truth = write("truth", f"case{number}", {"liver": block(4, 20), "spleen": block(20, 26)})
        other = write("other", f"case{number}", {"liver": block(4, 19 - number), "spleen": block(20, 26)}, flat=True)
    found = compared(truth, other)
    liver, spleen = found["organs"]
    assert (liver["organ"], liver["cases"], liver["absent"]) == ("liver", 3, 0)
    expected = [metrics.agreement(block(4, 20), block(4, 19 - n), grid().spacing_mm) for n in range(3)]
    for row, agreement in zip(found["rows"][::2], expected, strict=True):
        assert row["dsc"] == pytest.approx(agreement.dsc)
        assert row["nsd"] == pytest.approx(agreement.nsd)
        assert row["hd95_mm"] == pytest.approx(agreement.hd95_mm, rel=1e-6)
        assert row["volume_difference_ml"] == pytest.approx(agreement.volume_difference_ml, rel=1e-6)
    mean = np.mean([one.dsc for one in expected])
    assert liver["dsc"]["mean"] == pytest.approx(mean)
    assert liver["dsc"]["low"] < mean < liver["dsc"]["high"]
    assert spleen["dsc"]["mean"] == spleen["nsd"]["mean"] == 1
    assert liver["dsc"]["high"] == 1, "three cases would allow more, but no DSC is"
    assert found["over_organs"]["dsc"]["mean"] == pytest.approx((mean + 1) / 2)
    assert not {"low", "high"} & found["over_organs"]["dsc"].keys(), "an interval is over cases, not over organs"


def test_absent_extra_and_missed_organs_are_counted(write: Write) -> None:
    cases = [(block(4, 9), block(4, 9)), (NOTHING, block(4, 9)), (block(4, 9), NOTHING), (NOTHING, NOTHING)]
    for number, (first, second) in enumerate(cases):
        truth = write("truth", f"case{number}", {"pancreas": first})
        other = write("other", f"case{number}", {"pancreas": second})
    (pancreas,) = compared(truth, other)["organs"]
    assert {name: pancreas[name] for name in ("cases", "absent", "extra", "missed")} == {
        "cases": 2, "absent": 2, "extra": 1, "missed": 1,
    }  # fmt: skip
    assert (pancreas["dsc"]["mean"], pancreas["dsc"]["count"]) == (0.5, 2)
    assert (pancreas["hd95_mm"]["mean"], pancreas["hd95_mm"]["count"], pancreas["hd95_mm"]["left_out"]) == (0, 1, 1)


def test_groups_by_dataset_phase_and_spacing(write: Write, tmp_path: Path) -> None:
    for number, slice_mm in enumerate((1.0, 2.5, 5.0)):
        truth = write("truth", f"case{number}", {"liver": block(4, 20)}, grid(slice_mm))
        other = write("other", f"case{number}", {"liver": block(4, 20 - number)}, grid(slice_mm))
    provenance = {"source": {"dataset": "amos22"}}
    (truth / "case0" / "provenance.json").write_text(json.dumps(provenance))
    table = tmp_path / "cases.csv"
    table.write_text("Case,Phase,sex\ncase0,portal,F\ncase1,portal,M\ncase2,arterial,M\n")
    groups = compared(truth, other, "--metadata", table)["groups"]
    assert set(groups["dataset"]) == {"amos22", "unknown"}
    assert set(groups["spacing"]) == {"up to 1.5 mm", "1.5 to 3 mm", "over 3 mm"}
    assert groups["phase"]["portal"][0]["cases"] == 2
    assert groups["phase"]["arterial"][0]["dsc"]["mean"] < groups["phase"]["portal"][0]["dsc"]["mean"]
    table.rename(truth / "metadata.csv")
    shown = atlas(truth, other).stdout
    assert "phase: portal" in shown, "the table of a release was not found"
    assert "dataset: amos22" in shown


def test_what_only_one_side_has_is_named_and_not_compared(write: Write) -> None:
    truth = write("truth", "both", {"liver": block(4, 20), "aorta": block(4, 6)})
    write("truth", "only_here", {"liver": block(4, 20)})
    other = write("other", "both", {"liver": block(4, 20), "spleen": block(4, 6)})
    write("other", "another", {"liver": block(4, 20)})
    result = atlas(truth, other, "--json")
    assert [row["organ"] for row in json.loads(result.stdout)["rows"]] == ["liver"]
    assert "only_here" in result.stderr
    assert "another" in result.stderr


def test_a_label_map_stands_in_for_masks(write: Write, tmp_path: Path) -> None:
    truth = write("truth", "case", {"liver": block(4, 20), "spleen": block(20, 26)})
    folder = tmp_path / "maps" / "case"
    folder.mkdir(parents=True)
    nifti.write_mask(folder / "combined_labels.nii.gz", 5 * block(4, 20) + 8 * block(20, 25), grid())
    rows = compared(truth, tmp_path / "maps")["rows"]
    assert {row["organ"]: row["dsc"] for row in rows} == {"liver": 1, "spleen": pytest.approx(10 / 11)}


def test_two_single_cases_are_the_same_case(write: Write) -> None:
    truth = write("truth", "a", {"liver": block(4, 20)}) / "a"
    other = write("other", "b", {"liver": block(4, 20)}, flat=True) / "b"
    assert compared(truth, other)["rows"][0]["dsc"] == 1


def test_other_grids_are_refused_by_name_and_the_rest_goes_on(write: Write, tmp_path: Path) -> None:
    truth = write("truth", "moved", {"liver": block(4, 20)})
    other = write("other", "moved", {"liver": block(4, 20)}, grid(shift_mm=246))
    write("truth", "fine", {"liver": block(4, 20)})
    write("other", "fine", {"liver": block(4, 20)})
    target = tmp_path / "rows.csv"
    result = atlas(truth, other, "--json", "--csv", target)
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    (refused,) = found["refused"]
    assert (refused["case"], refused["reason"]) == ("moved", "GEOMETRY_MISMATCH")
    assert str(truth / "moved") in refused["message"]
    assert str(other / "moved") in refused["message"]
    assert "origin (3.50" in refused["message"]
    assert "origin (249.50" in refused["message"]
    with target.open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["fine"]


def test_csv_tells_a_missing_number_from_an_infinite_one(write: Write, tmp_path: Path) -> None:
    truth = write("truth", "case", {"liver": NOTHING, "spleen": block(4, 9)})
    other = write("other", "case", {"liver": NOTHING, "spleen": NOTHING})
    atlas(truth, other, "--csv", tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        spleen, liver = sorted(csv.DictReader(file), key=lambda row: -len(row["organ"]))
    assert (liver["dsc"], liver["hd95_mm"]) == ("", "")
    assert (spleen["dsc"], spleen["hd95_mm"]) == ("0.0", "inf")


def test_tolerances_by_organ_and_by_challenge(write: Write) -> None:
    truth = write("truth", "case", {"liver": block(4, 20), "spleen": block(4, 20), "colon": block(4, 20)})
    other = write("other", "case", {"liver": block(4, 16), "spleen": block(4, 16), "colon": block(4, 16)})
    arguments = ("--tolerance", "2", "--tolerance", "flare22", "--tolerance", "spleen=0.5")
    rows = {row["organ"]: row for row in compared(truth, other, *arguments)["rows"]}
    assert {organ: row["tolerance_mm"] for organ, row in rows.items()} == {"liver": 5, "spleen": 0.5, "colon": 2}
    assert rows["liver"]["nsd"] == 1 > rows["colon"]["nsd"] > rows["spleen"]["nsd"]


@pytest.mark.parametrize(
    ("arguments", "reason", "field"),
    [
        (["truth", "nowhere"], Reason.FIELD_INVALID, "REFERENCE"),
        (["truth", "empty"], Reason.FOLDER_EMPTY, "empty"),
        (["truth", "strangers"], Reason.FOLDER_EMPTY, "OTHER"),
        (["truth", "truth", "--organ", "elbow"], Reason.ORGAN_UNKNOWN, "--organ"),
        (["truth", "truth", "--tolerance", "wide"], Reason.FIELD_INVALID, "--tolerance"),
        (["truth", "truth", "--tolerance", "liver=-1"], Reason.FIELD_INVALID, "--tolerance"),
        (["truth", "truth", "--class-map", "none"], Reason.CLASS_MAP_MISMATCH, "class_map"),
        (["truth", "truth", "--metadata", "odd.csv"], Reason.FIELD_INVALID, "odd.csv"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    write: Write, tmp_path: Path, arguments: list[str], reason: Reason, field: str
) -> None:
    for case in ("a", "b"):
        write("truth", case, {"liver": block(4, 20)})
        write("strangers", f"x{case}", {"liver": block(4, 20)})
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.csv").write_text("name,age\na,7\n")
    names = {"truth", "nowhere", "empty", "strangers", "odd.csv"}
    with pytest.raises(AtlasError) as caught:
        atlas(*[tmp_path / argument if argument in names else argument for argument in arguments])
    assert caught.value.reason == reason
    assert caught.value.field.endswith(field)


def test_the_table_shows_spread_median_and_interval_of_both_scores() -> None:
    """As the JSON tells them; in percent."""
    scores = ((0.9, 0.5), (0.8, 0.4), (0.4, 0.1))
    rows = [
        Row(str(number), "liver", Agreement(dsc, nsd, 1.0, 3.0, 10.0, 10.0), {})
        for number, (dsc, nsd) in enumerate(scores)
    ]
    console = Console(width=200)
    with console.capture() as captured:
        console.print(organ_table(rows))
    head, line = captured.get().splitlines()
    assert head.split().count("median") == head.split().count("CI") == 2
    (told,) = as_data(rows)["organs"]
    for score in ("dsc", "nsd"):
        shown = [f"{100 * told[score][name]:.1f}" for name in ("mean", "sd", "median", "low", "high")]
        mean, spread, median, low, high = shown
        assert f"{mean} +- {spread}" in line
        assert f"{median}  " in line
        assert f"{low} to {high}" in line
