"""A whole benchmark in miniature: case folders in, table out, and a second run that does nothing again."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.serving.benchmark import learning
from services.serving.benchmark.cases import entry
from services.serving.benchmark.plan import CaseFiles, Dataset, Plan, held_out
from services.serving.benchmark.run import benchmark
from services.serving.card import Card, Network, load_card, save_card, weights_path
from services.synthetic import make_case, write_case

GRID = Geometry.from_matrix(
    (56, 44, 36),
    np.array([[6.0, 0, 0, -165], [0, 6, 0, -130], [0, 0, 6, -100], [0, 0, 0, 1]]),
)
LABELLED = ("liver", "spleen", "kidney_left")


def dataset(folder: Path, name: str, seeds: range, organs: tuple[str, ...] = LABELLED) -> Dataset:
    """Case folders of synthetic patients on a coarse grid, labelled for some organs."""
    cases = []
    for seed in seeds:
        target = folder / name / f"case-{seed}"
        write_case(make_case(seed, geometry=GRID), target, organs)
        masks = {organ: target / "segmentations" / f"{organ}.nii.gz" for organ in organs}
        cases.append(CaseFiles(name=target.name, ct=target / "ct.nii.gz", masks=masks))
    return Dataset(name=name, cases=tuple(cases))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two trainings of a small U-Net; a knows the pancreas too, and holds a scan that is tested."""
    folder = tmp_path_factory.mktemp("benchmark")
    save_card_of(folder / "small")
    b = dataset(folder, "ours", range(20, 24))
    a = dataset(folder, "atlas", range(10, 12), (*LABELLED, "pancreas"))
    tested = held_out("ours", b.cases, 2, seed=0)[0]
    again = folder / "atlas" / "again"
    shutil.copytree(tested.ct.parent, again)
    copy = CaseFiles(name="again", ct=again / "ct.nii.gz", masks={"liver": again / "segmentations" / "liver.nii.gz"})
    return Plan(
        out=folder / "out",
        networks=(folder / "small",),
        class_map="abdomenatlas-1.0",
        a=a.model_copy(update={"cases": (*a.cases, copy)}),
        b=b,
        outside=(dataset(folder, "theirs", range(30, 31), ("liver",)),),
        hold_out=2,
        steps=50,
        threads=1,
    )


def save_card_of(folder: Path) -> None:
    folder.mkdir()
    card = Card(
        name="small",
        label="test-1",
        summary="A U-Net of two levels.",
        intended_use="Tests.",
        network=Network(architecture="unet", arguments={"channels": [4, 8], "strides": [2]}),
        class_map="abdomenatlas-1.0",
        organs=classmaps.load("abdomenatlas-1.0").organs,
        grid_spacing_mm=6.0,
        working_factor=1,
        hu_window=(-175, 250),
        window=(32, 32, 32),
        overlap=0.25,
        cpu_runtime="torch",
    )
    save_card(folder, card)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def report(plan: Plan, told: list[str]) -> Path:
    return benchmark(plan, lambda doing, done: told.append(doing))


def rows(report: Path) -> list[dict[str, str]]:
    with report.with_name("cases.csv").open() as file:
        return list(csv.DictReader(file))


def test_both_trainings_are_tested_on_the_hold_out_and_outside(plan: Plan, report: Path) -> None:
    found = rows(report)
    places = {(row["trained_on"], row["tested_on"], row["case"]) for row in found}
    held = {case.name for case in held_out("ours", plan.b.cases, 2, seed=0)}
    assert {case for _, tested_on, case in places if tested_on.startswith("hold-out")} == held
    assert {case for _, tested_on, case in places if tested_on.startswith("outside")} == {"case-30"}
    assert {trained_on for trained_on, _, _ in places} == {"atlas", "ours"}
    assert all(0 <= float(row["dsc"]) <= 1 and float(row["seconds"]) > 0 for row in found)


def test_only_organs_that_both_teach_and_the_truth_has_are_judged(report: Path) -> None:
    by_set: dict[str, set[str]] = {}
    for row in rows(report):
        by_set.setdefault(row["tested_on"].split()[0], set()).add(row["organ"])
    assert by_set == {"hold-out": set(LABELLED), "outside": {"liver"}}


def test_a_scan_that_is_tested_is_not_trained_on(plan: Plan, report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "1 cases of atlas were not trained on" in text
    assert "training a: 2, training b: 2" in text


def test_what_was_trained_is_a_model_folder(plan: Plan, report: Path) -> None:
    folder = plan.out / "networks" / "small_a"
    card = load_card(folder)
    assert weights_path(folder, card).exists()
    assert card.trained_on is not None
    assert card.trained_on["steps"] == 50


def test_the_table_and_the_plot_are_there(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "## Tested on hold-out of b (ours)" in text
    assert "| small on a |" in text
    assert report.with_name("benchmark.png").read_bytes().startswith(b"\x89PNG")
    with report.with_name("comparisons.csv").open() as file:
        assert {"mean over organs", "liver"} <= {line["organ"] for line in csv.DictReader(file)}


def test_a_second_run_trains_and_tests_nothing_again(plan: Plan, report: Path) -> None:
    before, weights = report.read_text(encoding="utf-8"), plan.out / "networks" / "small_b" / "1" / "weights.pt"
    written = weights.stat().st_mtime_ns
    told: list[str] = []
    assert benchmark(plan, lambda doing, done: told.append(doing)).read_text(encoding="utf-8") == before
    assert weights.stat().st_mtime_ns == written
    assert not any(doing.startswith("training") for doing in told)


def test_results_of_another_plan_are_not_mixed_in(plan: Plan, report: Path) -> None:
    with pytest.raises(AtlasError) as refused:
        benchmark(plan.model_copy(update={"steps": 100}), lambda doing, done: None)
    assert refused.value.reason is Reason.RESOURCE_CONFLICT


def test_results_of_another_card_are_not_mixed_in(plan: Plan, report: Path, tmp_path: Path) -> None:
    """What people read may change, what the network is may not."""
    folder = tmp_path / "small"
    shutil.copytree(plan.networks[0], folder)
    card = load_card(folder)
    save_card(folder, card.model_copy(update={"summary": "A U-Net."}))
    again = plan.model_copy(update={"networks": (folder,)})
    assert benchmark(again, lambda doing, done: None) == report
    wider = Network(architecture="unet", arguments={"channels": [8, 8], "strides": [2]})
    save_card(folder, card.model_copy(update={"network": wider}))
    with pytest.raises(AtlasError, match="another card of small") as refused:
        benchmark(again, lambda doing, done: None)
    assert refused.value.reason is Reason.RESOURCE_CONFLICT


@pytest.mark.parametrize(
    "change", [{"working_factor": 2}, {"working_spacing_mm": (9.0, 6.0, 6.0)}, {"grid_spacing_mm": 3.0}]
)
def test_a_case_on_another_grid_is_another_case(plan: Plan, change: dict[str, object]) -> None:
    card, files = load_card(plan.networks[0]), plan.b.cases[0]
    known = entry(files, LABELLED, card, plan.class_map).key
    changed = Card.model_validate({**card.model_dump(), **change})
    assert entry(files, LABELLED, changed, plan.class_map).key != known
    assert entry(files, LABELLED, card, plan.class_map).key == known


def test_no_time_is_time_for_one_step(plan: Plan, tmp_path: Path) -> None:
    short = plan.model_copy(update={"steps": None, "minutes": 1e-6, "out": tmp_path, "outside": ()})
    benchmark(short, lambda doing, done: None)
    trained_on = load_card(tmp_path / "networks" / "small_a").trained_on
    assert trained_on is not None
    assert trained_on["steps"] == 1


def test_a_full_disk_is_told(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights go to a device that is always full."""
    monkeypatch.setattr(learning, "WEIGHTS_FILE", "/dev/full")
    short = plan.model_copy(update={"steps": None, "minutes": 1e-6, "out": tmp_path, "outside": ()})
    with pytest.raises(AtlasError, match="no room left") as refused:
        benchmark(short, lambda doing, done: None)
    assert refused.value.reason is Reason.DISK_FULL
    assert not (tmp_path / "networks" / "small_a" / "model.yaml").exists()


def test_datasets_of_one_name_are_refused(plan: Plan) -> None:
    """Sides and test sets are told apart by the names of their datasets alone."""
    for change in ({"a": plan.b}, {"outside": (plan.a,)}, {"outside": (*plan.outside, *plan.outside)}):
        with pytest.raises(AtlasError, match="Two datasets have this name") as refused:
            Plan.model_validate({**dict(plan), **change})
        assert refused.value.reason is Reason.FIELD_INVALID


def test_an_unknown_hospital_is_refused_before_anything_is_drawn(plan: Plan, tmp_path: Path) -> None:
    unknown = Dataset(name="synthetic:nowhere", hospitals=("nowhere",), count=2)
    with pytest.raises(AtlasError, match="no synthetic hospital") as refused:
        benchmark(plan.model_copy(update={"outside": (unknown,), "out": tmp_path}), lambda doing, done: None)
    assert refused.value.reason is Reason.FIELD_INVALID
    assert list(tmp_path.iterdir()) == []


def test_networks_of_the_zoo_can_be_asked_for(plan: Plan) -> None:
    """At their own size, by their names; a folder of that name goes before."""
    models = plan.networks[0].parent
    (card,) = plan.model_copy(update={"networks": (models / "paper_unet",)}).cards()
    assert (card.network.arguments["channels"], card.window, card.label) == ([64, 128, 256, 512], (96, 96, 96), "1")
    assert plan.cards() == [load_card(plan.networks[0])]
    with pytest.raises(AtlasError, match="cannot be read"):
        plan.model_copy(update={"networks": (models / "nobody",)}).cards()


def test_coarser_networks_can_be_asked_for(plan: Plan) -> None:
    """The cards' other entries stay; a window that the networks cannot halve is refused."""
    card = load_card(plan.networks[0])
    coarse = plan.model_copy(update={"working_factor": 2, "window": (16, 32, 32)}).sized(card)
    assert coarse == card.model_copy(update={"working_factor": 2, "window": (16, 32, 32)})
    with pytest.raises(AtlasError, match="multiple of 16"):
        plan.model_copy(update={"window": (16, 20, 32)}).sized(card)


def test_a_hold_out_that_leaves_nothing_is_refused(plan: Plan) -> None:
    with pytest.raises(AtlasError) as refused:
        held_out("ours", plan.b.cases, 4, seed=0)
    assert refused.value.reason is Reason.TRAINING_DATA


def test_a_broken_mask_is_found_before_training(plan: Plan, tmp_path: Path) -> None:
    bad = plan.b.cases[0].model_copy(update={"masks": {"liver": tmp_path / "liver.nii.gz"}})
    (tmp_path / "liver.nii.gz").write_bytes(b"no image")
    told: list[str] = []
    broken = plan.model_copy(update={"outside": (Dataset(name="bad", cases=(bad,)),), "out": tmp_path / "out"})
    with pytest.raises(AtlasError) as refused:
        benchmark(broken, lambda doing, done: told.append(doing))
    assert refused.value.field.endswith("liver.nii.gz")
    assert not any(doing.startswith("training") for doing in told)
