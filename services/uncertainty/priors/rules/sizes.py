"""How large organs are."""

from collections.abc import Iterator

from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.findings import Severity, Sign

LIMITS_ML = {
    # The upper limits of the first nine are the maxima of AbdomenAtlas 1.0 Mini; the rest is textbook anatomy, wide.
    "aorta": (10.0, 611.0),
    "gall_bladder": (1.0, 159.0),
    "kidney_left": (20.0, 1609.0),
    "kidney_right": (20.0, 1690.0),
    "liver": (400.0, 8555.0),
    "pancreas": (10.0, 1327.0),
    "postcava": (10.0, 366.0),
    "spleen": (20.0, 3088.0),
    "stomach": (20.0, 2411.0),
    "adrenal_gland_left": (0.5, 100.0),
    "adrenal_gland_right": (0.5, 100.0),
    "bladder": (5.0, 2500.0),
    "celiac_trunk": (0.1, 20.0),
    "colon": (80.0, 8000.0),
    "duodenum": (10.0, 400.0),
    "esophagus": (3.0, 250.0),
    "femur_left": (20.0, 900.0),
    "femur_right": (20.0, 900.0),
    "hepatic_vessel": (0.5, 400.0),
    "intestine": (80.0, 5000.0),
    "lung_left": (300.0, 6000.0),
    "lung_right": (300.0, 6500.0),
    "portal_vein_and_splenic_vein": (3.0, 250.0),
    "prostate": (5.0, 500.0),
    "rectum": (10.0, 1500.0),
}

ASYMMETRY = 3.0
_TWINS = ("adrenal_gland", "kidney")


def implausible(anatomy: Anatomy) -> Iterator[Sign]:
    """A volume that no patient has. An organ that the field of view cuts may be small."""
    for organ in anatomy.present(LIMITS_ML):
        least, most = LIMITS_ML[organ.name]
        is_small = organ.volume_ml < least and not organ.cut_at
        if is_small or organ.volume_ml > most:
            limit = least if is_small else most
            yield Sign(
                (organ.name,),
                Severity.WARNING,
                f"{organ.name} has {organ.volume_ml:.1f} ml, {'less' if is_small else 'more'} than {limit:g} ml.",
                {"volume_ml": organ.volume_ml, "limit_ml": limit},
                organ.mask,
            )


def asymmetric(anatomy: Anatomy) -> Iterator[Sign]:
    """A kidney or adrenal gland much larger than its twin. It happens: one shrinks and the other grows."""
    for pair in _TWINS:
        twins = anatomy.found(f"{pair}_left", f"{pair}_right")
        if not twins or any(twin.cut_at for twin in twins):
            continue
        small, large = sorted(twins, key=lambda organ: organ.volume_ml)
        ratio = large.volume_ml / small.volume_ml
        if ratio > ASYMMETRY:
            yield Sign(
                (small.name, large.name),
                Severity.NOTICE,
                f"{large.name} has {large.volume_ml:.0f} ml, {small.name} {small.volume_ml:.0f} ml.",
                {"ratio": ratio, "small_ml": small.volume_ml, "large_ml": large.volume_ml},
                small.mask,
            )
