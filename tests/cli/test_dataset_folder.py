"""What is found in the folder of a public dataset, and what is named as missing, added or there twice."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.ingest.dataset_folder import Found, discover_dataset
from services.cli.ingest.discover import Case, Refusal
from services.core import classmaps, datasets
from services.core.errors import AtlasError, Reason
from tests.cli import public_datasets as public


def find(root: Path, name: str) -> Found:
    return discover_dataset(root, datasets.load(name), classmaps.load())


def taken(found: Found) -> list[str]:
    return [entry.source_id for entry in found.entries if isinstance(entry, Case)]


def refused(found: Found, root: Path) -> dict[str, Reason]:
    """Reasons by path below the root."""
    entries = [entry for entry in found.entries if isinstance(entry, Refusal)]
    assert all(entry.error.remedy for entry in entries)
    return {entry.path.relative_to(root).as_posix(): entry.error.reason for entry in entries}


def tell(root: Path, **told: Any) -> None:
    """Write the folder's dataset.json."""
    (root / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "liver"}, **told}))


@pytest.mark.parametrize("beside", ["labelsTr/liver_0.nii", "imagesTr/liver_0.nii"])
def test_an_id_that_comes_twice_is_refused(tmp_path: Path, beside: str) -> None:
    public.decathlon_liver(tmp_path)
    (tmp_path / beside).write_bytes(gzip.decompress((tmp_path / f"{beside}.gz").read_bytes()))
    found = find(tmp_path, "msd-liver")
    assert refused(found, tmp_path) == {f"{beside}.gz": Reason.RESOURCE_CONFLICT}
    assert taken(found) == ["liver_132"], "neither of the two is chosen"


def test_test_images_in_nnunets_folders_keep_the_ids_of_their_cases(tmp_path: Path) -> None:
    """Without any label nothing but the channel's number tells nnU-Net's folders from a dataset's own."""
    for name, case in (("amos22", "amos_0001"), ("msd-liver", "liver_7"), ("word", "word_7")):
        public.put(public.patient(3), tmp_path / name / f"imagesTs/{case}_0000.nii.gz")
        found = find(tmp_path / name, name)
        assert (taken(found), found.left_out) == ([case], 0), name


TRAINING = {"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"}
TEST = "./imagesTs/liver_132.nii.gz"


def test_what_is_listed_and_there_is_taken(tmp_path: Path) -> None:
    public.decathlon_liver(tmp_path)
    tell(tmp_path, training=[TRAINING], test=[TEST], modality={"0": "CT"})
    assert taken(find(tmp_path, "msd-liver")) == ["liver_0", "liver_132"]


def test_cases_that_are_listed_and_not_there_are_named(tmp_path: Path) -> None:
    public.decathlon_liver(tmp_path)
    more = {"image": "./imagesTr/liver_1.nii.gz", "label": "./labelsTr/liver_1.nii.gz"}
    tell(tmp_path, training=[TRAINING, more], test=[TEST, "./imagesTs/liver_133.nii.gz"])
    found = find(tmp_path, "msd-liver")
    assert refused(found, tmp_path) == {
        "imagesTr/liver_1.nii.gz": Reason.RESOURCE_NOT_FOUND,
        "imagesTs/liver_133.nii.gz": Reason.RESOURCE_NOT_FOUND,
    }
    assert taken(found) == ["liver_0", "liver_132"]


def test_of_a_folder_that_is_listed_and_not_there_the_folder_is_named(tmp_path: Path) -> None:
    public.decathlon_liver(tmp_path)
    tell(tmp_path, training=[TRAINING], validation=[{"image": f"./imagesVa/{n}.nii.gz"} for n in range(5)], test=[TEST])
    (entry,) = (entry for entry in find(tmp_path, "msd-liver").entries if isinstance(entry, Refusal))
    assert entry.path.name == "imagesVa"
    assert "lists 5 images" in entry.error.message


def test_a_case_whose_label_is_listed_does_not_go_in_without_it(tmp_path: Path) -> None:
    """Not even if the whole folder of labels is missing, which without a list looks like images alone."""
    public.decathlon_liver(tmp_path)
    tell(tmp_path, training=[TRAINING], test=[TEST])
    (tmp_path / "labelsTr/liver_0.nii.gz").unlink()
    found = find(tmp_path, "msd-liver")
    assert refused(found, tmp_path) == {"imagesTr/liver_0.nii.gz": Reason.RESOURCE_NOT_FOUND}
    assert taken(found) == ["liver_132"]


def test_files_that_are_there_and_not_listed_are_named(tmp_path: Path) -> None:
    public.decathlon_liver(tmp_path)
    tell(tmp_path, training=[TRAINING], test=[])
    case = public.patient(2)
    public.put(
        case,
        tmp_path / "imagesTr/extra.nii.gz",
        tmp_path / "labelsTr/extra.nii.gz",
        public.label_map(case, {"liver": 1}),
    )
    found = find(tmp_path, "msd-liver")
    assert refused(found, tmp_path) == {"imagesTr/extra.nii.gz": Reason.FIELD_INVALID}
    assert taken(found) == ["liver_0", "liver_132"], "of the test images the list says nothing"


def test_nnunets_list_names_cases_without_the_channel(tmp_path: Path) -> None:
    public.nnunet(tmp_path)
    told = {"image": "./imagesTr/Case_00001.nii.gz", "label": "./labelsTr/Case_00001.nii.gz"}
    tell(tmp_path, training=[told], test=[], channel_names={"0": "CT"})
    assert taken(find(tmp_path, "abdomenct-1k")) == ["Case_00001"]


def test_the_mri_of_a_dataset_are_not_missed(tmp_path: Path) -> None:
    public.amos(tmp_path)
    images = ["imagesTr/amos_0001", "imagesTr/amos_0507", "imagesTr/amos_0599"]
    tell(tmp_path, labels={"6": "liver"}, training=[{"image": f"./{image}.nii.gz"} for image in images])
    found = find(tmp_path, "amos22")
    assert refused(found, tmp_path) == {}
    assert taken(found) == ["amos_0001", "amos_0411"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"modality": {"0": "MRI"}}, "its images are MRI"),
        ({"channel_names": {"0": "T2", "1": "ADC"}}, "its images are T2, ADC"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "its images are CT, PET"),
    ],
)
def test_images_that_are_no_cts_are_refused_with_what_they_are(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    public.decathlon_liver(tmp_path)
    tell(tmp_path, **told)
    with pytest.raises(AtlasError, match=said) as caught:
        find(tmp_path, "msd-liver")
    assert caught.value.reason == Reason.CLASS_MAP_MISMATCH


@pytest.mark.parametrize("told", [{"training": "imagesTr"}, {"test": [7]}, {"modality": "CT"}, {"training": [{}]}])
def test_a_list_that_is_none_is_refused(tmp_path: Path, told: dict[str, Any]) -> None:
    public.decathlon_liver(tmp_path)
    tell(tmp_path, **told)
    with pytest.raises(AtlasError, match="cannot be read"):
        find(tmp_path, "msd-liver")
