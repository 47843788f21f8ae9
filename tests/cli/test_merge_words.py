"""A policy of merging in words, and what a merge changed."""

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.merge_words import changes, policy
from services.core.errors import AtlasError


@pytest.mark.parametrize(
    "word", ["clear", "overwrite=all", "fusion=", "dsc:unet=good", "dsc=1", "steps:liver=shine", "colour=red"]
)
def test_a_word_that_says_nothing_is_refused(word: str) -> None:
    with pytest.raises(AtlasError) as caught:
        policy([word])
    assert caught.value.field == f"--merge {word}"


def test_changes_are_told_with_their_volumes() -> None:
    organ = pb.OrganLabel(
        organ="liver",
        changes=[
            pb.LabelChange(kind=pb.LabelChange.KIND_LARGEST, removed_mm3=1250),
            pb.LabelChange(kind=pb.LabelChange.KIND_SIDES, added_mm3=20, removed_mm3=30),
        ],
    )
    assert list(changes(organ)) == ["largest: 1.25 ml removed", "sides: 0.02 ml added, 0.03 ml removed"]
