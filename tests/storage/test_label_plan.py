"""What label files mean: which organs, made of what."""

from collections.abc import Sequence

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.storage.label_plan import Plan, check, plan


def made(
    *files: str, ids: Sequence[int] = (), dataset_map: str = "", looked_for: Sequence[str] = (), class_map: str = ""
) -> Plan:
    """The plan for mask files by name, "" for a label map in which `ids` occur."""
    request = pb.ImportLabelVersionRequest(
        files=[pb.LabelFile(object="o", organ=name, display_name=f"{name or 'map'}.nii.gz") for name in files],
        class_map=class_map,
        dataset_map=dataset_map,
        looked_for=looked_for,
        origin=pb.ORIGIN_SOURCE,
        author="a",
    )
    return plan(check(request), ids)


def organs(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {target.name: tuple(label for piece in target.pieces for label in piece.labels) for target in plan.targets}


def test_what_a_dataset_looked_for_is_known_and_nothing_else() -> None:
    assert organs(made("", ids=(0, 1), dataset_map="kits23")) == {"kidney": (1, 2, 3)}
    assert organs(made("", ids=(), dataset_map="lits")) == {"liver": (1, 2)}, "it looked, and there is none"
    assert organs(made("", ids=(1,), dataset_map="msd-colon")) == {}


def test_a_dataset_that_tells_only_what_occurs() -> None:
    assert organs(made("", ids=(0, 1, 14), dataset_map="flare23")) == {"liver": (1,)}
    assert len(organs(made("", ids=(0, 1), dataset_map="flare22"))) == 9


def test_the_class_map_bounds_what_is_taken() -> None:
    assert set(organs(made("", ids=(1, 3), dataset_map="ct-org"))) == {"liver", "kidney"}
    larger = organs(made("", ids=(1, 3), dataset_map="ct-org", class_map="abdomenatlas-1.1"))
    assert set(larger) == {"liver", "kidney", "bladder", "lung"}


def test_organs_may_be_chosen() -> None:
    assert set(organs(made("", ids=(1,), dataset_map="amos22", looked_for=("spleen", "aorta")))) == {"spleen", "aorta"}
    with pytest.raises(AtlasError, match="nobody looked for") as caught:
        made("", ids=(1, 6), dataset_map="amos22", looked_for=("spleen",))
    assert caught.value.field == "looked_for"
    with pytest.raises(AtlasError, match="lits does not label spleen"):
        made("", ids=(), dataset_map="lits", looked_for=("spleen",))


def test_an_id_that_the_dataset_does_not_know_is_named() -> None:
    with pytest.raises(AtlasError, match="kits19 has no 3, 77") as caught:
        made("", ids=(0, 1, 3, 77), dataset_map="kits19")
    assert (caught.value.reason, caught.value.field) == (Reason.LABEL_UNKNOWN, "map.nii.gz")


def test_masks_in_the_datasets_words_are_united_if_all_parts_are_there() -> None:
    found = made("kidney_left", "kidney_cyst_left", "kidney_right", "rib_left_1", dataset_map="totalsegmentator-v2")
    assert [(target.name, target.structures) for target in found.targets] == [
        ("kidney_left", ("kidney_left", "kidney_cyst_left"))
    ]
    assert found.notes == ("kidney_right stays unknown: of what it is made of, kidney_cyst_right has no file.",)


def test_masks_of_what_lies_in_any_organ_are_not_left_out_without_a_word() -> None:
    plan = made("liver", "tumor", dataset_map="flare23")
    assert organs(plan) == {"liver": ()}
    assert plan.notes == ("tumor was left out: it is given to organs only where it comes in a label map.",)


def test_masks_in_our_words_go_with_a_dataset_too() -> None:
    assert set(organs(made("postcava", "spleen", dataset_map="totalsegmentator-v2"))) == {"postcava", "spleen"}
    with pytest.raises(AtlasError) as caught:
        made("hepar", dataset_map="totalsegmentator-v2")
    assert (caught.value.reason, caught.value.field) == (Reason.ORGAN_UNKNOWN, "hepar.nii.gz")


def test_a_pair_and_one_of_its_sides_do_not_go_together() -> None:
    with pytest.raises(AtlasError, match="More than one file holds kidney_left"):
        made("", "kidney_left", ids=(1,), dataset_map="kits23")


def test_a_dataset_that_is_not_known_is_refused() -> None:
    with pytest.raises(AtlasError) as caught:
        made("", dataset_map="nobody-9")
    assert (caught.value.reason, caught.value.field) == (Reason.CLASS_MAP_MISMATCH, "dataset")
