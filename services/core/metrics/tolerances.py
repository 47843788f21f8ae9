"""Tolerances of NSD by organ that challenges have set, in mm."""

from collections.abc import Mapping
from types import MappingProxyType

PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        # MICCAI FLARE 2022, evaluation code: about the disagreement of two radiologists.
        "flare22": MappingProxyType(
            {
                "adrenal_gland_left": 2.0,
                "adrenal_gland_right": 2.0,
                "aorta": 2.0,
                "duodenum": 7.0,
                "esophagus": 3.0,
                "gall_bladder": 2.0,
                "kidney_left": 3.0,
                "kidney_right": 3.0,
                "liver": 5.0,
                "pancreas": 5.0,
                "postcava": 2.0,
                "spleen": 3.0,
                "stomach": 5.0,
            }
        )
    }
)
"""By name; an organ that a preset does not name has the usual tolerance."""
