"""What a release tells people: its card, its licences, and its cases as MONAI lists them."""

from pathlib import Path

import pytest
import yaml
from monai.data.decathlon_datalist import load_decathlon_datalist

from services.cli.release.card import card, licences
from services.cli.release.contents import Contents, read_contents
from services.cli.release.split import Lot
from services.cli.release.writer import write_release
from tests.cli.archive import CAMPAIGN, Archive


@pytest.fixture
def contents(archive: Archive) -> Contents:
    return read_contents(archive.connection, CAMPAIGN, Lot(test_share=0.5))


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    lines = text.split(f"# {title}\n")[1].split("\n#")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return table[1:]


def test_the_head_of_the_card_is_what_hugging_face_reads(contents: Contents) -> None:
    head = yaml.safe_load(card(contents).split("---\n")[1])
    assert (head["license"], head["license_link"]) == ("other", "LICENSE.md")
    assert head["annotations_creators"] == ["found", "expert-generated", "machine-generated"]
    assert head["size_categories"] == ["n<1K"]


def test_the_card_counts_the_masks_of_each_origin(contents: Contents) -> None:
    """Source, revision, AI, of these empty, and cases in which the organ is unknown."""
    counts = {organ.strip("`"): [int(n) for n in told] for _, organ, *told in rows(card(contents), "Organs")}
    assert counts["liver"] == [1, 0, 0, 0, 1]
    assert counts["spleen"] == [0, 1, 1, 0, 0]
    assert counts["gall_bladder"] == [0, 0, 2, 2, 0]
    assert counts["pancreas"] == [0, 0, 0, 0, 2]
    assert "1 are for training, 1 for testing" in card(contents)


def test_licences_by_source(archive: Archive) -> None:
    """What a dataset is called and where it is from is told if we know it, and that its licence is in doubt."""
    archive.records["volumes/case-a"].dataset = "btcv"
    archive.records["volumes/case-a"].licence = "CC-BY-4.0"
    told = licences(read_contents(archive.connection, CAMPAIGN))
    by_dataset = {row[0]: row[1:] for row in rows(told, "Licences")}
    (btcv,) = (row for dataset, row in by_dataset.items() if dataset.startswith("BTCV"))
    assert btcv == ["https://www.synapse.org/Synapse:syn3193805", "1", "CC-BY-4.0?"]
    assert "the terms that Synapse shows" in told
    assert "ask who gave you the CTs" not in told


def test_texts_from_outside_stay_texts(archive: Archive) -> None:
    archive.records["volumes/case-b"].dataset = "a | b](http://x) <script>"
    contents = read_contents(archive.connection, CAMPAIGN)
    for told in (card(contents), licences(contents)):
        assert "<script>" not in told
        assert r"a \| b\]\(http://x\) \<script\>" in told


def test_monai_reads_the_list_of_cases(archive: Archive, contents: Contents, tmp_path: Path) -> None:
    write_release(archive.connection.storage, contents, tmp_path / "release")
    listed = {
        key: load_decathlon_datalist(str(tmp_path / "release/datalist.json"), data_list_key=key)
        for key in ("training", "testing")
    }
    assert [len(cases) for cases in listed.values()] == [1, 1]
    for case in (*listed["training"], *listed["testing"]):
        assert Path(case["image"]).is_file()
        assert Path(case["label"]).is_file()
        masks = (Path(case["image"]).parent / "segmentations").iterdir()
        assert sorted(case["known_organs"]) == sorted(path.name.removesuffix(".nii.gz") for path in masks)
