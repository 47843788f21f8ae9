"""Every rule on anatomies made by hand, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import numpy as np
import pytest

from services.uncertainty.priors import catalog
from services.uncertainty.priors.findings import Severity
from tests.uncertainty.priors.bodies import (
    BODY,
    GRID,
    Shape,
    anatomy,
    arrays,
    ball,
    body,
    box,
    field_of_view,
    findings,
    only,
    told,
    whole,
)

RULES = [prior.name for prior in catalog.PRIORS]


def test_a_healthy_body_is_silent() -> None:
    assert [(finding.rule, finding.message) for finding in findings(BODY)] == []


@pytest.mark.parametrize("organs", [(), ("liver",), ("kidney_left", "kidney_right"), ("aorta", "postcava")])
def test_what_nobody_looked_for_is_not_missed(organs: tuple[str, ...]) -> None:
    assert findings(only(BODY, *organs)) == []


def test_an_empty_label_set_only_lacks_what_can_be_told() -> None:
    """Nothing but empty masks: no organ tells that the others should be there."""
    assert findings(dict.fromkeys(BODY, ())) == []


@pytest.mark.parametrize("pair", ["kidney", "adrenal_gland", "lung", "femur"])
def test_sides_swapped(pair: str) -> None:
    """The liver's centre is 65 mm right of the middle: a kidney at 62 is 3 mm from it, one at -60 is 125 mm."""
    swapped = {f"{pair}_left": BODY[f"{pair}_right"], f"{pair}_right": BODY[f"{pair}_left"]}
    found = told(BODY | swapped, "sides_swapped")
    (evidence,) = found.values()
    assert list(found) == [(f"{pair}_left", f"{pair}_right")]
    right, left = (abs(BODY[f"{pair}_{side}"][0].centre[0] - 65) for side in ("right", "left"))
    assert evidence["left_to_liver_mm"] == pytest.approx(right, abs=1.5)
    assert evidence["right_to_liver_mm"] == pytest.approx(left, abs=1.5)


def test_a_kidney_that_has_sunk_is_on_its_side() -> None:
    """The right kidney in the pelvis is further from the liver than the left one, but not from left to right."""
    sunk = BODY["kidney_right"][0].at(45, 0, 90)
    assert told(body(kidney_right=sunk), "sides_swapped") == {}


def test_twins_overlap() -> None:
    """Two boxes of 12 x 12 x 12 mm that share a slice of 3 mm: 4 x 4 x 1 voxels."""
    twins = {"kidney_left": (box(0, 0, 99, 6, 6, 6),), "kidney_right": (box(9, 0, 99, 6, 6, 6),)}
    assert told(twins, "twins_overlap") == {
        ("kidney_left", "kidney_right"): {"overlap_voxels": 16.0, "overlap_mm3": pytest.approx(16 * 27)}
    }
    assert told(twins | {"kidney_right": (box(12, 0, 99, 6, 6, 6),)}, "twins_overlap") == {}


@pytest.mark.parametrize("voxels", [1, 2])
def test_forbidden_overlap(voxels: int) -> None:
    """10 voxels at 1.5 mm are 33.75 mm3: one voxel of 27 mm3 is a trace, two are not.

    The liver ends at 114 mm; a column of 3 x 3 mm begins one or two voxels below that.
    """
    column = box(1.5, 1.5, 117 - 1.5 * voxels, 1.5, 1.5, 3 + 1.5 * voxels)
    found = told({"liver": (box(0, 0, 99, 15, 15, 15),), "aorta": (column,)}, "forbidden_overlap")
    expected = {("aorta", "liver"): {"overlap_voxels": 2, "overlap_mm3": pytest.approx(54)}}
    assert found == (expected if voxels == 2 else {})


def test_other_organs_may_overlap() -> None:
    pair = {"liver": (box(0, 0, 99, 15, 15, 15),), "postcava": (box(0, 0, 99, 6, 6, 15),)}
    assert findings(pair, "forbidden_overlap") == []


def test_same_mask() -> None:
    """10 slices and 8 of them: 8 / 10 are shared; of 10 and 5 it is one half, which is not more than one half."""
    bladder = (box(0, 0, 99, 15, 15, 15),)
    copies = {"bladder": bladder, "prostate": (box(0, 0, 96, 15, 15, 12),)}
    assert told(copies, "same_mask")[("bladder", "prostate")]["shared_share"] == pytest.approx(0.8)
    assert told({"bladder": bladder, "prostate": (box(0, 0, 91.5, 15, 15, 7.5),)}, "same_mask") == {}


@pytest.mark.parametrize(("top", "missing"), [(375, 0), (345, 0), (339, 2), (321, 8), (270, 25)])
def test_aorta_ends_too_early(top: float, missing: int) -> None:
    """The postcava reaches from 125 to 345 mm, the pancreas (205 mm) and the lungs tell where the aorta must be.

    So it must be seen from the slice at 205 mm to that below 345 mm, on 47 slices: 2 are 4 %, and 6 mm.
    """
    short = box(-12, -25, (125 + top) / 2, 9, 9, (top - 125) / 2)
    found = told(
        only(body(aorta=short), "aorta", "postcava", "pancreas", "lung_left", "lung_right"), "vessel_truncated"
    )
    if not missing:
        assert found == {}
    else:
        assert found[("aorta",)]["missing_mm"] == pytest.approx(3 * missing)
        assert found[("aorta",)]["missing_share"] == pytest.approx(missing / 47)


def test_one_missing_slice_at_the_end_is_no_truncation_one_in_the_middle_is() -> None:
    """1 of 47 slices is 2 %; but no vessel has a gap."""
    end = box(-12, -25, 233.5, 9, 9, 108.5)
    assert told(body(aorta=end), "vessel_truncated") == {}
    parts = (box(-12, -25, 186, 9, 9, 60), box(-12, -25, 312, 9, 9, 63))
    assert told(body(aorta=parts), "vessel_truncated")[("aorta",)]["gap_slices"] == 1


def test_a_vessel_that_is_missing_altogether() -> None:
    found = findings(body(aorta=()), "vessel_truncated")
    assert [finding.organs for finding in found] == [("aorta",)]
    assert found[0].evidence["missing_share"] == 1
    centre = found[0].centre_mm
    assert centre is not None
    assert abs(centre[0] - 18) < 30, "beside the postcava"


def test_the_postcava_may_end_at_the_heart_but_not_below_the_liver() -> None:
    assert told(body(postcava=box(18, -22, 200, 9, 9, 75)), "vessel_truncated") == {}
    found = told(body(postcava=box(18, -22, 170, 9, 9, 45)), "vessel_truncated")
    assert list(found) == [("postcava",)]


def test_the_aorta_may_fork_above_the_end_of_the_postcava() -> None:
    assert told(body(aorta=box(-12, -25, 277, 9, 9, 98)), "vessel_truncated") == {}


@pytest.mark.parametrize(
    ("changes", "pair"),
    [
        ({"spleen": Shape((140, -40, 265), (5, 30, 45))}, ("liver", "spleen")),
        ({"gall_bladder": Shape((-40, 50, 195), (14, 14, 24))}, ("gall_bladder", "aorta")),
        ({"stomach": Shape((-50, -90, 262), (45, 10, 55))}, ("stomach", "aorta")),
        ({"bladder": Shape((0, 30, 300), (35, 30, 25))}, ("liver", "bladder")),
    ],
)
def test_out_of_order(changes: dict[str, Shape], pair: tuple[str, str]) -> None:
    assert pair in told(body(**changes), "out_of_order")


def test_a_lung_that_goes_on_beyond_the_field_of_view_may_be_higher_than_it_seems() -> None:
    high = body(kidney_left=Shape((-60, -50, 350), (26, 24, 40)), lung_left=Shape((-75, 0, 300), (55, 70, 75)))
    assert ("lung_left", "kidney_left") in told(high, "out_of_order")
    assert ("lung_left", "kidney_left") not in told(high, "out_of_order", field_of_view(0, 366))


def test_out_of_order_measures_between_centres() -> None:
    """The gall bladder's centre is at 195 mm and that of the kidney at 190, both at R 45: only A, 50 and 80, differ."""
    pair = {"gall_bladder": (ball(45, 50, 195, 15),), "kidney_right": (ball(45, 80, 190, 15),)}
    assert told(pair, "out_of_order") == {("gall_bladder", "kidney_right"): {"wrong_by_mm": pytest.approx(30, abs=1.5)}}


def test_a_mirrored_patient() -> None:
    """A wrong sign in the affine puts the liver on the left: most pairs are the wrong way round."""
    mirrored = {
        organ: tuple(shape.at(-shape.centre[0], shape.centre[1], shape.centre[2]) for shape in shapes)
        for organ, shapes in BODY.items()
    }
    assert len(told(mirrored, "out_of_order")) > 5


@pytest.mark.parametrize(("gap", "is_apart"), [(12, False), (33, True)])
def test_apart(gap: float, is_apart: bool) -> None:
    """The liver's box ends at R 0; the gall bladder's begins `gap` mm away. The limit is 20 mm."""
    pair = {"liver": (box(-51, 0, 201, 51, 30, 30),), "gall_bladder": (box(gap + 12, 0, 201, 12, 12, 12),)}
    found = told(pair, "apart")
    if is_apart:
        assert found[("gall_bladder", "liver")]["gap_mm"] == pytest.approx(gap, abs=3.01)
    else:
        assert found == {}


def test_a_neighbour_may_go_on_beyond_the_field_of_view() -> None:
    """The liver ends at the bottom of the grid, 12 mm under the gall bladder: it may lie at it further down."""
    pair = {"liver": (box(-51, 0, 15, 51, 30, 15),), "gall_bladder": (box(60, 0, 24, 12, 12, 12),)}
    assert told(pair, "apart") == {}
    higher = {organ: (shapes[0].at(*shapes[0].centre[:2], shapes[0].centre[2] + 60),) for organ, shapes in pair.items()}
    assert list(told(higher, "apart")) == [("gall_bladder", "liver")]


def test_in_thorax() -> None:
    """The liver's top is at 330 mm: a ball of 12 mm radius (7.2 ml) at 380 lies above it by more than 25 mm."""
    stray = (*BODY["colon"], ball(-70, 0, 380, 12))
    found = told(body(colon=stray), "in_thorax")
    assert found[("colon",)]["stray_ml"] == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.05)
    assert told(body(colon=(*BODY["colon"], ball(-70, 0, 335, 12))), "in_thorax") == {}


def test_without_the_top_of_the_liver_nothing_is_in_the_thorax() -> None:
    stray = body(colon=(*BODY["colon"], ball(-70, 0, 380, 12)), liver=box(65, 20, 310, 60, 50, 110))
    assert told(stray, "in_thorax") == {}


def test_lung_in_abdomen() -> None:
    low = (*BODY["lung_left"], ball(-75, 0, 150, 12))
    assert told(body(lung_left=low), "lung_in_abdomen")[("lung_left",)]["stray_ml"] == pytest.approx(7.2, rel=0.05)


@pytest.mark.parametrize(("height", "above"), [(18, None), (75, None), (90, 40), (201, 151)])
def test_prostate_astray(height: float, above: float | None) -> None:
    """The femurs end at 50 mm; the prostate may lie up to 30 mm above that."""
    found = told(body(prostate=ball(0, 20, height, 9)), "prostate_astray")
    if above is None:
        assert found == {}
    else:
        assert found[("prostate",)]["above_femurs_mm"] == pytest.approx(above, abs=3)


def test_a_prostate_without_femurs_is_astray_only_if_they_were_looked_for() -> None:
    """As the released case whose 164-voxel prostate lies in the intestine."""
    without: dict[str, tuple[()]] = {"femur_left": (), "femur_right": ()}
    assert told(body(**without), "prostate_astray") == {("prostate",): {"femurs": 0.0}}
    assert told(body(femur_left=None, femur_right=None), "prostate_astray") == {}


def test_in_pieces() -> None:
    """A cube of 9 mm, 0.729 ml, beside the spleen; a single voxel of 0.027 ml is not told."""
    extra = (box(-61.5, 40.5, 331.5, 4.5, 4.5, 4.5), box(-61.5, 40.5, 376.5, 1.5, 1.5, 1.5))
    found = findings(body(spleen=(*BODY["spleen"], *extra)), "in_pieces")
    (finding,) = found
    assert finding.severity == Severity.NOTICE
    assert finding.evidence == {
        "pieces": 2.0,
        "extra_ml": pytest.approx(0.729),
        "largest_extra_ml": pytest.approx(0.729),
        "gap_mm": pytest.approx(63, abs=15),
    }
    (large,) = findings(body(spleen=(*BODY["spleen"], ball(-60, 40, 330, 12))), "in_pieces")
    assert large.severity == Severity.WARNING
    assert findings(body(colon=(*BODY["colon"], ball(0, 40, 100, 9))), "in_pieces") == []


def test_pieces_may_be_joined_beyond_the_field_of_view() -> None:
    """Two columns that both reach the top face; a third one does not."""
    columns = (box(-60, 0, 390, 15, 15, 30), box(0, 0, 405, 12, 12, 15))
    assert told({"spleen": columns}, "in_pieces") == {}
    assert told({"spleen": (*columns, box(60, 0, 380, 12, 12, 12))}, "in_pieces")[("spleen",)]["pieces"] == 2


def test_hollow() -> None:
    """A hole of 3 x 3 x 3 voxels is 0.729 ml; filled by another organ, or open to a side, it is none."""
    masks = arrays(only(BODY, "liver"))
    middle = (slice(85, 88), slice(40, 43), slice(70, 73))
    masks["liver"][middle] = 0
    (finding,) = catalog.find(["hollow"])[0].rule(anatomy(masks))
    assert finding.evidence == {"holes": 1.0, "hole_ml": pytest.approx(0.729)}
    masks["hepatic_vessel"] = np.zeros_like(masks["liver"])
    masks["hepatic_vessel"][middle] = 1
    assert list(catalog.find(["hollow"])[0].rule(anatomy(masks))) == []
    masks["liver"][85:88, 40:43, 73:] = 0
    del masks["hepatic_vessel"]
    assert list(catalog.find(["hollow"])[0].rule(anatomy(masks))) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flat_cut(axis: int) -> None:
    """The half of the liver beyond its middle is missing; the cut has the area of its largest section."""
    masks = arrays(only(BODY, "liver"))
    beyond: list[slice] = [slice(None)] * 3
    beyond[axis] = slice((86, 41, 71)[axis], None)
    section = int(np.take(masks["liver"], (85, 40, 70)[axis], axis).sum()) * 9
    masks["liver"][tuple(beyond)] = 0
    (sign,) = catalog.find(["flat_cut"])[0].rule(anatomy(masks))
    assert sign.evidence["flat_mm2"] == pytest.approx(section, rel=0.1)
    assert sign.region.slices[axis].stop == beyond[axis].start


def test_missing_slices_are_flat_cuts() -> None:
    masks = arrays(only(BODY, "liver"))
    masks["liver"][80:83] = 0
    (sign,) = catalog.find(["flat_cut"])[0].rule(anatomy(masks))
    assert 77 <= sign.region.corner[0] <= 82


@pytest.mark.parametrize("organ", ["liver", "spleen", "kidney_left", "stomach", "pancreas"])
def test_a_cut_by_the_field_of_view_is_no_flat_cut(organ: str) -> None:
    middle = BODY[organ][0].centre[2]
    for grid in (field_of_view(middle - 1.5, 420), field_of_view(0, middle + 1.5)):
        assert findings(only(BODY, organ), "flat_cut", "volume_implausible", "leak", "ragged", grid=grid) == []


@pytest.mark.parametrize(("width", "leaks"), [(4, True), (12, False)])
def test_leak(width: float, leaks: bool) -> None:
    """A ball of 15 mm radius (14 ml) hangs on the spleen by a bar of 8 or of 24 mm."""
    leak = (*BODY["spleen"], box(-68, -40, 265, 21, width, width), ball(-35, -40, 265, 15))
    found = findings(body(spleen=leak), "leak")
    assert len(found) == leaks
    if leaks:
        assert found[0].evidence["leak_ml"] == pytest.approx(14.1, rel=0.3)
        assert found[0].centre_mm == pytest.approx((-35, -40, 265), abs=6)


def test_ragged() -> None:
    """Noise on a third of the voxels near its surface makes the liver's surface several times as large."""
    masks = arrays(only(BODY, "liver"))
    rng = np.random.default_rng(0)
    masks["liver"] &= (rng.random(masks["liver"].shape) > 0.2).astype(np.uint8)
    (sign,) = catalog.find(["ragged"])[0].rule(anatomy(masks))
    assert sign.evidence["roughness_ratio"] > 8


def test_ragged_is_one_for_a_ball() -> None:
    """The area of voxel faces divided by 1.5 is right for a ball: 4 pi r^2."""
    masks = arrays({"liver": (ball(0, 0, 201, 60),)})
    made = anatomy(masks).organs["liver"]
    area = sum(float(planes.sum()) for planes in made.faces_mm2) / 1.5
    assert area == pytest.approx(4 * np.pi * 60**2, rel=0.06)


@pytest.mark.parametrize(("half", "is_told"), [(36.0, True), (39.0, False)])
def test_volume_implausible(half: float, is_told: bool) -> None:
    """A liver needs 400 ml: cubes of 72 and 78 mm have 373 and 475 ml."""
    found = told({"liver": (box(0, 0, 201, half, half, half),)}, "volume_implausible")
    assert (("liver",) in found) == is_told
    if is_told:
        assert found[("liver",)] == {"volume_ml": pytest.approx((2 * half) ** 3 / 1000, rel=0.05), "limit_ml": 400.0}


def test_a_volume_may_be_small_at_the_edge_but_not_too_large() -> None:
    assert told({"liver": (box(0, 0, 12, 12, 12, 12),)}, "volume_implausible") == {}
    assert told({"gall_bladder": (box(0, 0, 30, 30, 30, 30),)}, "volume_implausible")[("gall_bladder",)][
        "limit_ml"
    ] == pytest.approx(159)


@pytest.mark.parametrize(("length", "is_told"), [(30, False), (9, True)])
def test_twins_asymmetric(length: float, is_told: bool) -> None:
    """Columns of 60 mm against 60 or 18: a ratio of 1 or 3.3."""
    twins = {"kidney_left": (box(-60, 0, 201, 15, 15, 30),), "kidney_right": (box(60, 0, 201, 15, 15, length),)}
    found = told(twins, "twins_asymmetric")
    assert found == (
        {}
        if not is_told
        else {
            ("kidney_right", "kidney_left"): {
                "ratio": pytest.approx(10 / 3),
                "small_ml": pytest.approx(16.2),
                "large_ml": pytest.approx(54),
            }
        }
    )


@pytest.mark.parametrize("organ", ["liver", "pancreas", "spleen", "stomach"])
def test_organ_missing(organ: str) -> None:
    assert told(BODY, "organ_missing") == {}
    (finding,) = findings(body(**{organ: ()}), "organ_missing")
    assert (finding.organs, finding.evidence) == ((organ,), {"volume_ml": 0.0})
    place, truth = whole(finding.region, GRID), arrays(BODY)[organ]
    assert np.count_nonzero(place & truth) > 0.3 * np.count_nonzero(truth), "its usual place"
    for other, mask in arrays(body(**{organ: ()})).items():
        assert not np.any(place & mask), other


def test_organs_that_may_be_missing() -> None:
    assert told(body(gall_bladder=()), "organ_missing") == {}, "often removed"
    assert told(body(liver=(), spleen=()), "organ_missing") == {}, "nothing tells that the field of view reaches it"
    assert told(body(liver=()), "organ_missing", field_of_view(0, 210)) == {}
    assert told(body(liver=None), "organ_missing") == {}, "nobody looked for it"


def test_the_place_of_a_missing_organ_ends_with_the_grid() -> None:
    low = min(np.argwhere(arrays(BODY)["stomach"])[:, 1])
    (finding,) = findings(body(stomach=()), "organ_missing", grid=GRID)
    assert finding.region.slices[1].stop <= GRID.array_shape[1]
    assert finding.region.slices[1].start > low / 2


def test_swallowed() -> None:
    """The left kidney is empty and the spleen covers it; the vessels stand 3 mm right of the middle."""
    eaten = body(kidney_left=(), spleen=(*BODY["spleen"], *BODY["kidney_left"]))
    found = told(eaten, "swallowed")
    assert list(found) == [("spleen", "kidney_left")]
    assert found[("spleen", "kidney_left")]["filled_share"] > 0.6
    assert told(body(kidney_left=()), "swallowed") == {}, "a kidney that was removed"


def test_regions_lie_in_the_organs_they_name() -> None:
    """All faults at once: every region is inside the grid, and not empty but for a missing organ."""
    faulty = body(
        kidney_left=BODY["kidney_right"],
        aorta=box(-12, -25, 200, 9, 9, 75),
        spleen=(*BODY["spleen"], ball(-35, 40, 330, 12)),
        prostate=ball(0, 20, 200, 15),
        liver=(*BODY["liver"], *BODY["stomach"]),
    )
    found = findings(faulty)
    assert {"twins_overlap", "vessel_truncated", "in_pieces", "prostate_astray", "same_mask"} <= {f.rule for f in found}
    for finding in found:
        assert finding.region.count > 0, finding.rule
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(finding.region.slices, GRID.array_shape, strict=True))
        assert finding.severity <= {prior.name: prior.severity for prior in catalog.PRIORS}[finding.rule]
        assert all(name.rsplit("_", 1)[-1] in UNITS for name in finding.evidence), finding.evidence


UNITS = {"mm", "mm2", "mm3", "ml", "share", "voxels", "ratio", "slices", "pieces", "holes", "femurs"}
