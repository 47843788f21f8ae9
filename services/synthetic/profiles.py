"""How and whom a place scans: spacing, orientation, field of view, noise, sharpness, calibration, patients."""

from dataclasses import dataclass

from services.synthetic.populations import GENERAL, Population

Range = tuple[float, float]


@dataclass(frozen=True)
class Profile:
    """Ranges to draw a scan from: lengths in mm, angles in degrees, noise in HU, blur in voxels (standard deviation).

    `top_mm` and `bottom_mm` bound the field of view above and below the first lumbar vertebra. `grain` is the size of
    the noise within a slice in voxels (standard deviation): fine for a sharp kernel, coarse for a soft one.
    `hu_scale` and `hu_offset` are the scanner's calibration, HU' = scale HU + offset. Whom it scans, `population` says.
    """

    plane_mm: Range
    slice_mm: Range
    orientations: tuple[str, ...]
    tilt_degrees: float
    top_mm: Range
    bottom_mm: Range
    margin_mm: Range
    noise_hu: Range
    blur: Range
    grain: float = 0.6
    hu_scale: Range = (1.0, 1.0)
    hu_offset: Range = (0.0, 0.0)
    population: Population = GENERAL


_ABDOMEN: tuple[Range, Range, Range] = (90, 130), (-125, -75), (0, 15)

HOSPITALS: dict[str, Profile] = {
    # Portal phase, soft kernel, medium slices: what most public datasets look like.
    "portal": Profile(
        (2.0, 2.5), (2.5, 3.0), ("LPS",), 0, *_ABDOMEN, (6, 14), (0.5, 0.7), grain=0.8,
        population=Population(phases=(0, 0.05, 0.9, 0.05)),
    ),
    # Screening at low dose, without contrast.
    "native": Profile(
        (2.0, 2.5), (2.0, 2.5), ("LPS",), 0, *_ABDOMEN, (24, 40), (0.6, 0.8), grain=1.0,
        population=Population(phases=(1, 0, 0, 0), fatty_liver=0.3),
    ),
    # Angiography of lean patients: early phase, sharp kernel.
    "arterial": Profile(
        (2.0, 2.5), (2.0, 2.5), ("RAS",), 0, *_ABDOMEN, (14, 24), (0.25, 0.4), grain=0.35,
        population=Population(phases=(0, 1, 0, 0), stout=(1.2, 5.0), size=0.95),
    ),
    # Stout patients, thick slices, an old scanner that reads HU too low.
    "stout": Profile(
        (2.5, 3.0), (5.0, 6.0), ("LAS",), 3, *_ABDOMEN, (18, 30), (0.7, 0.9), grain=0.8,
        hu_scale=(0.92, 0.96), hu_offset=(-18, -8),
        population=Population(stout=(5.0, 1.2), size=1.06, fatty_liver=0.6),
    ),
    # Surgery of the liver: late phase, many lesions, the gall bladder often gone.
    "surgery": Profile(
        (2.0, 2.5), (2.5, 4.0), ("LPS", "LPI"), 4, *_ABDOMEN, (8, 16), (0.4, 0.6),
        hu_scale=(1.02, 1.06),
        population=Population(phases=(0, 0, 0.3, 0.7), liver_lesions=(0.05, 0.25, 0.7), no_gall_bladder=0.5),
    ),
}  # fmt: skip
"""Places that differ in scanner, phase, spacing and anatomy, for experiments about networks that meet another one."""

PROFILES: dict[str, Profile] = {
    "training": Profile((3, 3), (3, 3), ("RAS",), 0, (60, 165), (-160, -55), (-10, 20), (2, 16), (0.25, 0.6)),
    "clinical": Profile(
        (0.8, 3),
        (1, 5),
        ("LPS", "RAS", "LAS", "RPS", "LPI", "PSR"),
        4,
        (85, 150),
        (-140, -60),
        (-5, 20),
        (6, 28),
        (0.4, 0.9),
    ),
    "demo": Profile(
        (1.6, 2.0), (2.0, 3.0), ("LPS", "RAS", "LAS"), 2, (105, 130), (-110, -80), (0, 10), (8, 20), (0.4, 0.7)
    ),
    **HOSPITALS,
}
