"""Array files written piece by piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.arrayfile import Writer, decode, encode
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

SHAPE = (70, 6, 5)
GRID = Geometry(SHAPE[::-1], (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))


@settings(deadline=None)
@given(st.tuples(*[st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in SHAPE]))
def test_a_box_lies_where_it_was_put_and_the_rest_is_0(ends: tuple[list[int], ...]) -> None:
    corner, part = (ends[0][0], ends[1][0], ends[2][0]), tuple(slice(*pair) for pair in ends)
    whole = np.zeros(SHAPE, np.uint8)
    whole[part] = np.random.default_rng(0).integers(0, 256, whole[part].shape)
    writer = Writer(["liver", "spleen"], "uint8", GRID)
    writer.write("spleen", whole[part], corner)
    array = decode(writer.finish())
    np.testing.assert_array_equal(array.channel("spleen"), whole)
    assert not array.channel("liver").any()


def test_a_tight_box_gives_the_bytes_of_the_whole_array() -> None:
    """So a mask has one digest, however it was written."""
    whole = np.zeros((2, *SHAPE), np.uint8)
    whole[0, 30:40, 2:5, 1:3] = 1
    writer = Writer(["liver", "spleen"], "uint8", GRID)
    writer.write("liver", whole[0, 30:40, 2:5, 1:3], (30, 2, 1))
    assert writer.finish() == encode(["liver", "spleen"], whole, GRID)


@pytest.mark.parametrize("corner", [(60, 0, 0), (-1, 0, 0), (0, 4, 0), (0, 0, 3)])
def test_a_box_that_leaves_the_grid_is_refused(corner: tuple[int, int, int]) -> None:
    with pytest.raises(AtlasError) as caught:
        Writer(["liver"], "uint8", GRID).write("liver", np.ones((20, 3, 3), np.uint8), corner)
    assert (caught.value.reason, caught.value.field) == (Reason.GEOMETRY_MISMATCH, "liver")


@pytest.mark.parametrize(("channels", "dtype"), [([], "uint8"), (["a", "a"], "uint8"), (["a"], "float32")])
def test_what_no_array_file_can_hold(channels: list[str], dtype: str) -> None:
    with pytest.raises(ValueError, match="distinct channels"):
        Writer(channels, dtype, GRID)
