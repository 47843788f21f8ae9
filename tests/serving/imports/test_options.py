"""What is said of foreign weights counts, or is refused: nobody may believe that left and right were put right."""

from pathlib import Path
from typing import Any

import pytest

from services.core.errors import AtlasError, Reason
from services.serving.networks import build_own
from tests.serving.imports import published
from tests.serving.imports.published import drawn, imported, small_card

OPTIONS: dict[str, tuple[str, Any]] = {
    "--card": ("card", "paper_unet"),
    "--organ": ("organs", {"liver": "1"}),
    "--labels": ("labels", "abdomenatlas-1.1"),
    "--axes": ("axes", "SPL"),
    "--grid": ("grid_mm", 3.0),
    "--checkpoint": ("checkpoint", "fold_0/checkpoint_final.pth"),
}
UNUSED = {
    "file": ("--grid", "--checkpoint"),
    "model": ("--card", "--organ", "--labels", "--axes", "--grid", "--checkpoint"),
    "nnunet": ("--card", "--labels"),
    "bundle": ("--card", "--labels"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights in every layout."""
    home = tmp_path_factory.mktemp("sources")
    file = published.checkpoint(drawn(build_own(small_card())), home / "a.pth")
    imported(file, home, card=published.card_file(small_card(), home))
    nnunet, _ = published.nnunet_folder(home, {"background": 0, "liver": 1})
    bundle, _ = published.bundle_folder(home / "bundle", ["background", "liver"])
    return {"file": file, "model": home / "mine", "nnunet": nnunet, "bundle": bundle}


@pytest.mark.parametrize(("layout", "option"), [(layout, option) for layout in UNUSED for option in UNUSED[layout]])
def test_an_option_that_the_layout_does_not_take_is_refused(
    sources: dict[str, Path], tmp_path: Path, layout: str, option: str
) -> None:
    name, value = OPTIONS[option]
    with pytest.raises(AtlasError) as caught:
        imported(sources[layout], tmp_path, **{name: value})
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_INVALID, option)
    assert "--card" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["nnunet", "bundle"])
def test_what_a_folder_takes_counts(sources: dict[str, Path], tmp_path: Path, layout: str) -> None:
    file = "models/model.pt" if layout == "bundle" else "fold_0/checkpoint_final.pth"
    card = imported(
        sources[layout], tmp_path, write=False, organs={"spleen": "1"}, axes="SPL", grid_mm=3.0, checkpoint=file
    ).card
    assert (dict(card.channels), card.axes, card.grid_spacing_mm) == ({"spleen": (1,)}, "SPL", 3.0)
