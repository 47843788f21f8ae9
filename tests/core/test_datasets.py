"""What the ids of every dataset mean. A new dataset is a file beside the others and a line in `NINE` or `OTHERS`."""

import pytest

from services.core import classmaps, datasets
from services.core.errors import AtlasError, Reason
from services.core.names import content_id

# The ids that make up each of the nine organs of release 1.0, by the short names below. A pair stands for both sides.
SHORT = {
    "ao": "aorta",
    "gb": "gall_bladder",
    "kl": "kidney_left",
    "kr": "kidney_right",
    "ki": "kidney",
    "li": "liver",
    "pa": "pancreas",
    "pc": "postcava",
    "sp": "spleen",
    "st": "stomach",
}
NINE = {
    "abdomenatlas-1.0": "ao=1 gb=2 kl=3 kr=4 li=5 pa=6 pc=7 sp=8 st=9",
    "abdomenatlas-1.1": "ao=1 gb=2 kl=3 kr=4 li=5 pa=6 pc=7 sp=8 st=9",
    "abdomenct-12organ": "li=1 ki=2 sp=3 pa=4 ao=5 pc=6 st=7 gb=8",
    "abdomenct-1k": "li=1 ki=2 sp=3 pa=4",
    "amos22": "sp=1 kr=2 kl=3 gb=4 li=6 st=7 ao=8 pc=9 pa=10",
    "btcv": "sp=1 kr=2 kl=3 gb=4 li=6 st=7 ao=8 pc=9 pa=11",
    "chaos": "li=1",
    "ct-org": "li=1 ki=4",
    "flare22": "li=1 kr=2 sp=3 pa=4 ao=5 pc=6 gb=9 st=11 kl=13",
    "flare23": "li=1 kr=2 sp=3 pa=4 ao=5 pc=6 gb=9 st=11 kl=13",
    "kits19": "ki=1+2",
    "kits21": "ki=1+2+3",
    "kits23": "ki=1+2+3",
    "lits": "li=1+2",
    "msd-colon": "",
    "msd-hepatic-vessel": "",
    "msd-liver": "li=1+2",
    "msd-lung": "",
    "msd-pancreas": "pa=1+2",
    "msd-spleen": "sp=1",
    "pancreas-ct": "pa=1",
    "totalsegmentator-v1": "sp=1 kr=2 kl=3 gb=4 li=5 st=6 ao=7 pc=8 pa=10",
    "totalsegmentator-v2": "sp=1 kr=2+24 kl=3+23 gb=4 li=5 st=6 pa=7 ao=52 pc=63",
    "word": "li=1 sp=2 kl=3 kr=4 st=5 gb=6 pa=8",
}
OTHERS = {
    "amos22": {"esophagus": {5}, "adrenal_gland_right": {11}, "adrenal_gland_left": {12}, "duodenum": {13}},
    "btcv": {"portal_vein_and_splenic_vein": {10}, "adrenal_gland_right": {12}, "adrenal_gland_left": {13}},
    "abdomenct-12organ": {"celiac_trunk": {12}, "adrenal_gland_right": {10}, "adrenal_gland_left": {11}},
    "ct-org": {"bladder": {2}, "lung": {3}},
    "flare22": {"adrenal_gland_right": {7}, "adrenal_gland_left": {8}, "esophagus": {10}, "duodenum": {12}},
    "msd-hepatic-vessel": {"hepatic_vessel": {1}},
    "totalsegmentator-v1": {"lung_left": {13, 14}, "lung_right": {15, 16, 17}, "bladder": {104}, "femur_left": {88}},
    "totalsegmentator-v2": {"lung_left": {10, 11}, "lung_right": {12, 13, 14}, "bladder": {21}, "femur_left": {75}},
    "word": {"adrenal_gland": {12}, "colon": {10}, "intestine": {11}, "rectum": {13}, "bladder": {14}},
}
# Version and meaning of every map. A map that means something else than its version did raises the version.
MEANINGS = {
    "abdomenatlas-1.0": "1 fcc8c3401a4d",
    "abdomenatlas-1.1": "1 5ea767e4283c",
    "abdomenct-12organ": "1 3d87d2e2c299",
    "abdomenct-1k": "1 7f92de833943",
    "amos22": "1 8b54aa655492",
    "btcv": "1 66e5db017461",
    "chaos": "1 e92febd98e4b",
    "ct-org": "1 8d82501df8b5",
    "flare22": "1 88fcba2c6525",
    "flare23": "1 5995f6e7a686",
    "kits19": "1 f6a5a5e0b402",
    "kits21": "1 af50de9c7d36",
    "kits23": "1 af50de9c7d36",
    "lits": "1 c50f90b5c4e8",
    "msd-colon": "1 f5a735f2c204",
    "msd-hepatic-vessel": "1 f7a0ef3a5ded",
    "msd-liver": "1 811f0078c40c",
    "msd-lung": "1 de457054fc51",
    "msd-pancreas": "1 8b90698894f8",
    "msd-spleen": "1 a5369406d8ee",
    "pancreas-ct": "1 32b1b53265d5",
    "totalsegmentator-v1": "1 d69e2e2c7b24",
    "totalsegmentator-v2": "1 4074c44f5b55",
    "word": "1 281ccf073a01",
}


def ids(name: str) -> dict[str, set[int]]:
    targets = datasets.load(name).targets.items()
    return {target: {structure.label for structure in structures} for target, structures in targets}


def test_every_dataset_is_told_here() -> None:
    assert set(NINE) == set(datasets.names())


@pytest.mark.parametrize("name", sorted(NINE))
def test_ids_of_the_nine_organs(name: str) -> None:
    pairs = [entry.split("=") for entry in NINE[name].split()]
    expected = {SHORT[short]: {int(label) for label in labels.split("+")} for short, labels in pairs}
    nine = {*classmaps.load("abdomenatlas-1.0").organs, "kidney"}
    assert {target: labels for target, labels in ids(name).items() if target in nine} == expected


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_ids_of_other_organs(name: str) -> None:
    assert OTHERS[name].items() <= ids(name).items()


@pytest.mark.parametrize("name", datasets.names())
def test_a_dataset_says_where_it_comes_from_and_under_which_licence(name: str) -> None:
    dataset = datasets.load(name)
    assert dataset.name == name
    assert dataset.title
    assert dataset.source
    assert dataset.licence
    assert dataset.layouts


@pytest.mark.parametrize("name", datasets.names())
def test_a_map_that_means_something_else_has_another_version(name: str) -> None:
    """Else files that were imported by a mistaken map would never be read again by the mended one."""
    dataset = datasets.load(name)
    meaning = content_id(dataset.looks_for, dataset.only_cases, *(str(structure) for structure in dataset.structures))
    assert MEANINGS.get(name) == f"{dataset.version} {meaning[:12]}", (
        "Raise `version` in its file, and write this here."
    )


def test_an_unsplit_pair_stands_for_both_organs() -> None:
    assert datasets.load("ct-org").organs == (
        "kidney_left",
        "kidney_right",
        "liver",
        "bladder",
        "lung_left",
        "lung_right",
    )


def test_what_a_tumour_dataset_did_not_look_for_is_not_told() -> None:
    """The tumours of Task08 lie in the liver, but their mask is not the liver's."""
    assert datasets.load("msd-hepatic-vessel").organs == ("hepatic_vessel",)
    assert datasets.load("msd-colon").organs == ()
    assert datasets.load("flare23").looks_for == "present"


def test_a_dataset_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(AtlasError) as caught:
        datasets.load("../../etc/passwd")
    assert caught.value.reason == Reason.CLASS_MAP_MISMATCH
    assert "amos22" in caught.value.remedy


HEAD = (
    "name: x\nversion: 1\ntitle: X\nsource: s\nlicence: l\n"
    "layouts: [{images: 'img/{case}', labels: 'label/{case}'}]\nlabels:\n"
)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("  1: liver\n  1: spleen\n", "1 is there twice"),
        ("  1: liver\n  2: {name: hepar, is: liver}\n", "Labels 1 and 2 are both the liver"),
        ("  1: bone\n  2: bone\n", "both called 'bone'"),
        ("  1: {name: kidney, pair: kidney}\n  2: kidney_left\n", "un-split pair"),
        ("  1: {name: tumour, part_of: kidney}\n", "no label is that pair"),
        ("  1: {name: liver, is: spleen}\n", "liver is one of our organs"),
        ("  1: {name: hepar, is: lever}\n", "mapped to 'lever'"),
        ("  1: {name: hepar, was: liver}\n", "nobody knows"),
        ("  0: liver\n", "not a label id"),
        ("  70000: liver\n", "not a label id"),
        ("  one: liver\n", "not a label id"),
        ("  1: [liver]\n", "not described"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(labels: str, said: str) -> None:
    with pytest.raises(AtlasError, match=said) as caught:
        datasets.parse(HEAD + labels)
    assert caught.value.reason in (Reason.CLASS_MAP_MISMATCH, Reason.ORGAN_UNKNOWN)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a list", "not a mapping"),
        (HEAD.replace("licence: l\n", "") + "  1: liver\n", "missing: licence"),
        (HEAD + "  1: liver\nlicense: MIT\n", "Nobody knows the fields license"),
        (HEAD.replace("img/{case}", "/img/{case}") + "  1: liver\n", "not a path"),
        (HEAD.replace("img/{case}", "../{case}") + "  1: liver\n", "not a path"),
        (HEAD.replace("img/{case}", "img/ct") + "  1: liver\n", "not a path"),
        (HEAD + "  1: liver\nlooks_for: some\n", "looks_for"),
        (HEAD.replace("version: 1\n", "") + "  1: liver\n", "missing: version"),
        (HEAD.replace("version: 1", "version: 1.5") + "  1: liver\n", "version is 1.5"),
        (HEAD.replace("version: 1", "version: -1") + "  1: liver\n", "version is -1"),
        (HEAD.replace("version: 1", "version: true") + "  1: liver\n", "version is True"),
        ("a: [", "not YAML"),
    ],
)
def test_a_file_that_is_no_dataset_is_refused(text: str, said: str) -> None:
    with pytest.raises(AtlasError, match=said):
        datasets.parse(text)


def test_a_declared_union_is_taken() -> None:
    dataset = datasets.parse(HEAD + "  1: {name: upper, part_of: lung_left}\n  2: {name: lower, part_of: lung_left}\n")
    assert [structure.label for structure in dataset.targets["lung_left"]] == [1, 2]
