"""Which organs a source labelled: the habits of public datasets, so that archives are as partial as real ones."""

from services.synthetic.tissues import ORGAN_TISSUES

NINE = tuple(ORGAN_TISSUES)

SOURCES: dict[str, tuple[str, ...]] = {
    "liver": ("liver",),
    "spleen": ("spleen",),
    "pancreas": ("pancreas",),
    "kidneys": ("kidney_left", "kidney_right"),
    "six": ("gall_bladder", "kidney_left", "kidney_right", "liver", "spleen", "stomach"),
    "unlabelled": (),
    "nine": NINE,
}
"""Organs by kind of source."""

MIXED = ("liver", "spleen", "pancreas", "kidneys", "six", "unlabelled")
"""The kinds that an archive of mixed origin goes through, in turn."""
