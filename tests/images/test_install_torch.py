"""The build of torch without CUDA is not where all else is: what goes wrong with it is said in words that help."""

import base64
import hashlib
import http.server
import os
import subprocess
import threading
import venv
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "images" / "install-torch"
VERSION = "2.13.0+cpu"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A new virtual environment, whose pip knows an empty index instead of PyPI and nothing of this machine."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home / "venv", with_pip=True)
    (home / "empty").mkdir()
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (home / "empty").as_uri()}
    return {"PATH": f"{home}/venv/bin:{os.environ['PATH']}", **settings}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index that has torch alone, as small as a wheel can be."""
    folder = tmp_path / "index" / "torch"
    folder.mkdir(parents=True)
    wheel = folder / f"torch-{VERSION}-py3-none-any.whl"
    _write_wheel(wheel)
    (folder / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
    handler = partial(_Quiet, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_installs_what_the_lock_pins_from_the_further_index(
    environment: dict[str, str], index: str, tmp_path: Path
) -> None:
    done = _run(environment, _lock(tmp_path, _digest(tmp_path)), index)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(["pip", "show", "torch"], env=environment, capture_output=True, text=True, check=True)
    assert f"Version: {VERSION}" in shown.stdout
    subprocess.run(["pip", "uninstall", "-y", "torch"], env=environment, capture_output=True, check=True)


def test_without_an_index_it_says_which_argument_to_pass(environment: dict[str, str], tmp_path: Path) -> None:
    done = _run(environment, _lock(tmp_path, "0" * 64))
    assert done.returncode == 1
    assert f"torch=={VERSION} was not found: " in done.stderr
    assert "--build-arg TORCH_INDEX=" in done.stderr


def test_another_build_is_refused_and_it_says_how_to_lock_it(
    environment: dict[str, str], index: str, tmp_path: Path
) -> None:
    done = _run(environment, _lock(tmp_path, "0" * 64), index)
    assert done.returncode == 1
    assert "is there in another build than the one in triton.txt" in done.stderr
    assert "make locks" in done.stderr


def _run(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def _lock(folder: Path, digest: str) -> Path:
    """A lock with torch between others, which the script leaves alone."""
    others = [f"{name}==1.0 \\\n    --hash=sha256:{'1' * 64}\n" for name in ("sympy", "typing-extensions")]
    torch = f"torch=={VERSION} \\\n    --hash=sha256:{'2' * 64} \\\n    --hash=sha256:{digest}\n"
    path = folder / "triton.txt"
    path.write_text(torch.join(others))
    return path


def _digest(folder: Path) -> str:
    (wheel,) = folder.rglob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _write_wheel(path: Path) -> None:
    info = f"torch-{VERSION}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},sha256={_encoded(text)},{len(text)}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
