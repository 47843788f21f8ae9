"""Rules on which organ lies above which, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import pytest

from tests.uncertainty.priors.bodies import (
    BODY,
    Shape,
    ball,
    body,
    field_of_view,
    told,
)


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
