"""Versions go in and out of a running Triton under a stream of calls, and none of the calls fails."""

import json
import shutil
from pathlib import Path

import psutil
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.cli.stack.triton import TritonServer
from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.inference.model import Model, of_version
from services.inference.promotion import Promoter
from services.inference.trial import tried
from services.inference.triton import Triton
from tests.components.processes import wait_until
from tests.inference.versions import CANNOT, CT, GRID, add_version, calls, more

FIRST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_model_that_came_since_the_start_is_served(server: TritonServer, model: Path, promoter: Promoter) -> None:
    """As `atlas models import` leaves it; one that Triton cannot load is refused, and may be mended."""
    late = shutil.copytree(model, model.parent / "late", ignore=shutil.ignore_patterns("__pycache__"))
    config = (late / modelversions.CONFIG_FILE).read_text().replace('"threshold"', '"late"')
    code = (late / "1" / "model.py").read_text()
    (late / "1" / "model.py").write_text("raise ValueError('not yet')")
    modelversions.write_config(late, config)
    try:
        with pytest.raises(AtlasError) as caught:
            promoter.promote("late", "1")
        assert caught.value.reason is Reason.MODEL_CARD_INVALID
        (late / "1" / "model.py").write_text(code)
        assert promoter.promote("late", "1").require_card()
        assert Triton(server.address).infer(Model("late", "1"), CT, GRID, seconds=120)
    finally:
        shutil.rmtree(late)


def test_promotion_and_rollback_disturb_no_call(server: TritonServer, model: Path, promoter: Promoter) -> None:
    """Neither of those that name the version, nor of those that name none; and the card is each version's own."""
    triton = Triton(server.address)
    second = add_version(model, 2)
    with calls(server.address, "1", "") as done:
        more(done)
        promoted = promoter.promote("threshold", "2")
        more(done)
        assert promoted.require_card().weights_sha256 == second
        assert triton.model("threshold", "1").require_card().weights_sha256 == FIRST
        assert triton.model("threshold", "").version == "2"
        assert [(m.version, m.superseded) for m in triton.models()] == [("1", True), ("2", False)]
        assert promoter.promote("threshold", "2") == promoted, "again, it changes nothing"
        back = promoter.rollback("threshold", "")
        more(done)
        assert (back.version, back.superseded) == ("1", False)
        wait_until(lambda: triton.model("threshold", "2").card is None, "version 2 to go", 120)
        more(done)
    with pytest.raises(AtlasError, match="version 2") as caught:
        triton.model("threshold", "2").require_card()
    assert caught.value.reason is Reason.MODEL_NOT_READY


def test_the_third_version_ends_the_first(server: TritonServer, model: Path, promoter: Promoter) -> None:
    """Two are served, so that campaigns in hand can end; the digest of what is served does not change by a newcomer."""
    triton = Triton(server.address)
    add_version(model, 2)
    promoter.promote("threshold", "2")
    before = triton.model("threshold", "2").require_card()
    add_version(model, 3, served=2)
    with calls(server.address, "2") as done:
        promoter.promote("threshold", "3")
        more(done)
    assert modelversions.served_in(model) == (2, 3)
    assert triton.model("threshold", "2").require_card() == before
    assert promoter.rollback("threshold", "1").version == "1"
    assert modelversions.served_in(model) == (1,)


TELLS = """
from __future__ import annotations
import dataclasses, json, os, pathlib, time

@dataclasses.dataclass
class Seconds:
    slept: float = {seconds}

class TritonPythonModel:
    def initialize(self, args):
        told = [args[name] for name in ("model_repository", "model_name", "model_version")]
        pathlib.Path(__file__).with_name("told").write_text(json.dumps([told, os.getpid()]))
        time.sleep(Seconds().slept)
"""


@pytest.mark.parametrize(
    "code", [CANNOT, f"class TritonPythonModel:\n    def initialize(self, args):\n        {CANNOT}"]
)
def test_a_version_that_cannot_be_loaded_harms_nothing(
    server: TritonServer, model: Path, promoter: Promoter, code: str
) -> None:
    """The one that is served goes on, and is not even loaded again; the configuration is as it was."""
    add_version(model, 2)
    (model / "2" / "model.py").write_text(code)
    before = (model / modelversions.CONFIG_FILE).read_text()
    with calls(server.address, "1", "") as done:
        with pytest.raises(AtlasError, match=r"serves what it served: .*no such weights") as caught:
            promoter.promote("threshold", "2")
        assert caught.value.reason is Reason.MODEL_CARD_INVALID
        more(done)
    assert (model / modelversions.CONFIG_FILE).read_text() == before
    assert "failed to load 'threshold.trial'" in server.log.read_text()
    assert "failed to load 'threshold'" not in server.log.read_text()
    assert {m.model for m in Triton(server.address).models()} == {"threshold"}
    assert server.is_ready()


def test_a_version_is_tried_as_itself_and_let_go_of(server: TritonServer, model: Path) -> None:
    """Its code is told its own name, folder and number; afterwards its process ends, and Triton stayed ready."""
    add_version(model, 2)
    (model / "2" / "model.py").write_text(TELLS.format(seconds=0))
    Triton(server.address).try_version(model, 2)
    assert server.is_ready()
    told, process = json.loads((model / "2" / "told").read_text())
    assert told == [str(model), "threshold", "2"]
    wait_until(lambda: not psutil.pid_exists(process), "the end of the trial", 60)
    with InferenceServerClient(server.address) as client:
        assert client.is_model_ready("threshold", "1")


def test_a_trial_that_takes_too_long_is_let_go_of(server: TritonServer, model: Path) -> None:
    """It would else be served, and keep its memory, once it has loaded after all."""
    add_version(model, 2)
    (model / "2" / "model.py").write_text(TELLS.format(seconds=4))
    with InferenceServerClient(server.address) as client, pytest.raises(InferenceServerException, match="Deadline"):
        tried(client, model, 2, seconds=1)
    _, process = json.loads((model / "2" / "told").read_text())
    wait_until(lambda: not psutil.pid_exists(process), "the end of the trial", 60)


def test_a_configuration_that_is_none_is_refused(model: Path, promoter: Promoter) -> None:
    add_version(model, 2)
    modelversions.write_config(model, (model / modelversions.CONFIG_FILE).read_text() + "no such thing\n")
    with pytest.raises(AtlasError, match="no configuration of Triton") as caught:
        promoter.promote("threshold", "2")
    assert caught.value.reason is Reason.MODEL_CARD_INVALID


def test_what_may_not_be_promoted(model: Path, promoter: Promoter) -> None:
    """Each with its reason; nothing is loaded."""
    add_version(model, 2, promoted=False)
    add_version(model, 3, served=2)
    add_version(model, 4)
    (model / "4" / "comparison.json").write_text("{")
    before = (model / modelversions.CONFIG_FILE).read_text()
    for version, reason, says in (
        ("2", Reason.MODEL_VERSION_REFUSED, "liver regresses by 0.1 DSC"),
        ("3", Reason.MODEL_VERSION_REFUSED, "compared with version 2, and version 1 is served"),
        ("4", Reason.MODEL_VERSION_REFUSED, "never compared"),
        ("5", Reason.MODEL_NOT_FOUND, "no version 5 of threshold; there are 1, 2, 3, 4"),
        ("x", Reason.MODEL_NOT_FOUND, "no version x"),
    ):
        with pytest.raises(AtlasError, match=says) as caught:
            promoter.promote("threshold", version)
        assert caught.value.reason is reason
    with pytest.raises(AtlasError, match="No other version is served"):
        promoter.rollback("threshold", "")
    with pytest.raises(AtlasError, match="newer than version 1"):
        promoter.rollback("threshold", "2")
    with pytest.raises(AtlasError, match="no such model"):
        promoter.promote("resnet", "1")
    assert (model / modelversions.CONFIG_FILE).read_text() == before


def test_without_a_repository_nothing_is_promoted(server: TritonServer) -> None:
    with pytest.raises(AtlasError, match="ATLAS_INFERENCE_MODEL_REPOSITORY") as caught:
        Promoter(Triton(server.address), None).promote("threshold", "2")
    assert caught.value.reason is Reason.MODEL_VERSION_REFUSED


def test_a_version_has_its_own_parameters() -> None:
    """Over the common ones, and never another version's."""
    parameters = {"organs": "liver", "weights_sha256": "a", "2/weights_sha256": "b", "12/weights_sha256": "c"}
    assert of_version(parameters, "1") == {"organs": "liver", "weights_sha256": "a"}
    assert of_version(parameters, "2") == {"organs": "liver", "weights_sha256": "b"}
