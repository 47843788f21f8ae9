"""A promotion or rollback that was cut off after it was written down, and before Triton had loaded it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli.stack.triton import TritonServer
from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.inference.promotion import Promoter
from services.inference.triton import Triton
from tests.components.processes import wait_until
from tests.inference.versions import CANNOT, add_version, calls, more

Killed = Callable[[Callable[[], object]], None]


def ready(server: TritonServer) -> list[str]:
    """The versions that Triton serves."""
    return [known.version for known in Triton(server.address).models() if known.card]


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Killed:
    """Do something and be killed when the configuration is written, and nothing loaded yet."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    def run(step: Callable[[], object]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Triton, "load", kill)
            with pytest.raises(KeyboardInterrupt):
                step()

    return run


def test_a_promotion_that_was_interrupted_is_finished(
    server: TritonServer, model: Path, promoter: Promoter, killed: Killed
) -> None:
    """So is one that training wrote down for a Triton that starts later. Once it is done, nothing is loaded again."""
    second = add_version(model, 2)
    with calls(server.address, "1", "") as done:
        killed(lambda: promoter.promote("threshold", "2"))
        assert modelversions.served_in(model) == (1, 2)
        assert ready(server) == ["1"]
        assert promoter.promote("threshold", "2").require_card().weights_sha256 == second
        assert ready(server) == ["1", "2"]
        more(done)
        loaded = server.log.read_text().count("loading: threshold")
        assert promoter.promote("threshold", "2").version == "2"
        assert server.log.read_text().count("loading: threshold") == loaded


def test_an_interrupted_promotion_of_what_cannot_be_loaded_harms_nothing(
    server: TritonServer, model: Path, promoter: Promoter
) -> None:
    """It was not tried where training wrote it down, so it is tried now."""
    add_version(model, 2)
    (model / "2" / "model.py").write_text(CANNOT)
    modelversions.update_config(model, lambda config: modelversions.with_served(config, [1, 2]))
    with calls(server.address, "1", "") as done:
        with pytest.raises(AtlasError, match="no such weights") as caught:
            promoter.promote("threshold", "2")
        assert caught.value.reason is Reason.MODEL_CARD_INVALID
        more(done)
    assert "failed to load 'threshold'" not in server.log.read_text()


@pytest.mark.parametrize("version", ["", "1"])
def test_a_rollback_that_was_interrupted_is_finished(
    server: TritonServer,
    model: Path,
    promoter: Promoter,
    killed: Killed,
    version: str,
) -> None:
    add_version(model, 2)
    promoter.promote("threshold", "2")
    killed(lambda: promoter.rollback("threshold", version))
    assert modelversions.served_in(model) == (1,)
    assert ready(server) == ["1", "2"]
    assert promoter.rollback("threshold", version).version == "1"
    wait_until(lambda: ready(server) == ["1"], "version 2 to go", 120)
    with pytest.raises(AtlasError, match="No other version is served"):
        promoter.rollback("threshold", "")
