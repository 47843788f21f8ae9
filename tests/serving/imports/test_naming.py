"""Names of published networks' classes, and which organ of ours each is."""

import pytest

from services.core.errors import AtlasError, Reason
from services.serving.imports.naming import channels_by_organ, labelled, organ_of

BTCV = [
    "background", "spleen", "Right Kidney", "Left Kideny", "Gallbladder", "Esophagus", "Liver", "Stomach", "Aorta",
    "IVC", "Portal and Splenic Veins", "Pancreas", "Right adrenal gland", "Left adrenal gland",
]  # fmt: skip
"""As the Swin UNETR bundle of MONAI's model zoo spells them."""


def test_the_names_of_a_published_bundle() -> None:
    channels = channels_by_organ(dict(enumerate(BTCV)), {})
    assert list(channels) == [
        "spleen", "kidney_right", "kidney_left", "gall_bladder", "esophagus", "liver", "stomach", "aorta", "postcava",
        "portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right", "adrenal_gland_left",
    ]  # fmt: skip
    assert list(channels.values()) == [(channel,) for channel in range(1, 14)]


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        ("inferior_vena_cava", "postcava"),
        ("urinary bladder", "bladder"),
        ("lung_middle_lobe_right", "lung_right"),
        ("kidney", ""),
        ("cancer", ""),
        ("prostate/uterus", ""),
        ("background", ""),
        ("", ""),
    ],
)
def test_a_name_that_datasets_do_not_agree_on_is_no_organ(name: str, organ: str) -> None:
    """A kidney of either side is not one of ours, and whose cancer it is depends on the dataset."""
    assert organ_of(name) == organ


def test_a_chosen_channel_goes_before_its_name() -> None:
    names = {0: "background", 1: "liver", 2: "spleen"}
    assert channels_by_organ(names, {"spleen": "1"}) == {"spleen": (1,)}
    assert channels_by_organ(names, {"stomach": "Spleen"}) == {"liver": (1,), "stomach": (2,)}


def test_as_many_channels_as_labels_are_sigmoid_and_one_more_is_softmax() -> None:
    sigmoid, softmax = labelled("abdomenatlas-1.0", 9), labelled("abdomenatlas-1.0", 10)
    assert (sigmoid.activation, sigmoid.channels["aorta"]) == ("sigmoid", (0,))
    assert (softmax.activation, softmax.channels["aorta"]) == ("softmax", (1,))
    assert labelled("msd-pancreas", 3).channels == {"pancreas": (1, 2)}, "a tumour counts as its organ"
    with pytest.raises(AtlasError) as caught:
        labelled("abdomenatlas-1.0", 25)
    assert caught.value.reason is Reason.CLASS_MAP_MISMATCH
