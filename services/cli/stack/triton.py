"""A real tritonserver from the nvidia-pytriton wheel, for one machine without a container engine.

A production deployment runs the vendor's image instead; to the inference service only the address matters. What the
wheel needs and its users usually meet the hard way is here:

- The stub must lie beside `libtriton_python.so`, and cannot be replaced while a server runs it: each server has its own
  copy of the backend, made once.
- Without `LD_LIBRARY_PATH` the stub does not fail, it hangs the server.
- Under NumPy 2 every answer has the right shape and no bytes: such an environment is refused.
- Ports must be free beforehand, a clash kills the server only after all models are loaded.
- A server that was killed leaves its stubs and its shared memory behind: the next start clears both.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

import abdomenatlas
import services
from services.cli.stack.child import is_serving, rotate, tail
from services.cli.stack.ports import free_ports
from services.core.errors import AtlasError, Reason

WHEEL = "nvidia-pytriton"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_PROGRAMS = ("tritonserver", "triton_python_backend_stub")
_SHARED_MEMORY = Path("/dev/shm")
_SHARED_MEMORY_STEP = 16 * 2**20


class TritonServer:
    """A Triton that serves every model of a folder; a `Child` of the stack's supervisor.

    `state_dir` belongs to this server alone. For a port 0 a free one is taken and kept over restarts. How many
    threads a model may use is said in its config.pbtxt.
    """

    name = "triton"

    def __init__(
        self, model_repository: Path, state_dir: Path, *, log_path: Path, grpc_port: int = 0, metrics_port: int = 0
    ) -> None:
        self._models = model_repository.resolve()
        self._state = state_dir.resolve()
        free = free_ports(2)
        self._grpc_port, self._metrics_port = grpc_port or free[0], metrics_port or free[1]
        self.address = f"127.0.0.1:{self._grpc_port}"
        self.metrics = f"127.0.0.1:{self._metrics_port}"
        self.log = log_path
        self._process: subprocess.Popen[bytes] | None = None
        digest = hashlib.sha256(str(self._state).encode()).hexdigest()[:16]
        self._shared_memory_prefix = f"atlas-triton-{digest}-"

    def start(self) -> None:
        """Start the server with its output appended to the log.

        Raises DEPENDENCY_UNAVAILABLE if the environment cannot run one, and FOLDER_EMPTY if there is no model.
        """
        wheel = _wheel()
        command = self._command(wheel)
        self._clear_leftovers()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        rotate(self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment(wheel),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def exit_code(self) -> int | None:
        """None while it runs; a negative number is the signal that ended it."""
        return self._process.poll() if self._process else None

    def is_ready(self) -> bool:
        """Whether it answers, which it does once all its models are loaded."""
        return is_serving(self.address)

    def wait_ready(self, seconds: float = 300.0) -> None:
        """Wait until all models are loaded. Raises DEPENDENCY_UNAVAILABLE with the end of the log if they are not."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if self.pid is None or time.monotonic() > deadline:
                what = "still loads its models" if self.pid else f"ended with code {self.exit_code()}"
                raise AtlasError(
                    Reason.DEPENDENCY_UNAVAILABLE,
                    f"Triton {what}. The end of its log:\n\n{tail(self.log)}\n",
                    field=self.name,
                    remedy=f"The whole log is {self.log}.",
                )
            time.sleep(0.1)

    def terminate(self) -> None:
        """SIGTERM: it finishes what is in flight. (On SIGINT it would leave its stubs behind.)"""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the server and its stubs."""
        self._clear_leftovers()

    def stop(self, seconds: float = 40.0) -> None:
        """End it gracefully, or after `seconds` by force, and remove what it left."""
        self.terminate()
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        """Kill what still runs of earlier servers of this state folder, and remove their shared memory."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        # Server and stubs carry the prefix on their command lines; the stubs of a killed server go on for ever.
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or [""]
            if Path(words[0]).name in _PROGRAMS and any(self._shared_memory_prefix in word for word in words):
                with suppress(psutil.Error):
                    process.kill()
                    process.wait(5)
        for region in _SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    def _command(self, wheel: Path) -> list[str]:
        names = sorted(config.parent.name for config in self._models.glob("*/config.pbtxt"))
        if not names:
            raise AtlasError(
                Reason.FOLDER_EMPTY,
                "No folder in it holds a config.pbtxt.",
                field=str(self._models),
                remedy="Name a Triton model repository.",
            )
        return [
            str(wheel / "bin" / "tritonserver"),
            f"--model-repository={self._models}",
            f"--backend-directory={_own_backends(wheel, self._state)}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in names),
            "--disable-auto-complete-config",
            # It answers once its models are loaded, or ends. Ready it stays while a version is tried, or was refused.
            "--strict-readiness=false",
            "--allow-http=false",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self._grpc_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self._metrics_port}",
            "--allow-gpu-metrics=false",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory_prefix}",
            f"--backend-config=python,shm-default-byte-size={_SHARED_MEMORY_STEP}",
            f"--backend-config=python,shm-growth-byte-size={_SHARED_MEMORY_STEP}",
        ]

    def _environment(self, wheel: Path) -> dict[str, str]:
        # The models import `services` and the generated contract from wherever this process has them.
        folders = [str(Path(p).parent) for package in (services, abdomenatlas) for p in package.__path__]
        folders.append(os.environ.get("PYTHONPATH", ""))
        libraries = [str(wheel.parents[1] / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
        return {
            **os.environ,
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
            "LD_LIBRARY_PATH": os.pathsep.join((*libraries, os.environ.get("LD_LIBRARY_PATH", ""))).rstrip(os.pathsep),
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        }


def _wheel() -> Path:
    """The wheel's folder with `bin`, `backends` and `python_backend_stubs`. Raises DEPENDENCY_UNAVAILABLE."""
    numpy = version("numpy")
    if not numpy.startswith("1."):
        raise _unusable(f"Under NumPy {numpy} Triton's models answer with no bytes.", "Install numpy==1.26.4.")
    try:
        version(WHEEL)
    except PackageNotFoundError as error:
        raise _unusable(f"{WHEEL} is not installed.", f"pip install --no-deps {WHEEL}==0.7.0") from error
    package = find_spec("pytriton")
    if package is None or package.origin is None:
        raise _unusable(f"{WHEEL} is incomplete.", f"pip install --force-reinstall --no-deps {WHEEL}==0.7.0")
    folder = Path(package.origin).parent / "tritonserver"
    library = Path(sysconfig.get_config_var("LIBDIR")) / f"libpython{_PYTHON}.so.1.0"
    if not library.exists():
        raise _unusable(f"{library} does not exist.", "Use a Python that was built with its shared library.")
    if not (folder / "python_backend_stubs" / _PYTHON).is_dir():
        raise _unusable(f"{WHEEL} has no stub for Python {_PYTHON}.", "Use Python 3.11.")
    return folder


def _own_backends(wheel: Path, state: Path) -> Path:
    """The backend folder of one server, copied when it is first asked for."""
    backends = state / f"backends-{version(WHEEL)}"
    if not backends.exists():
        part = backends.with_name(f"{backends.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(wheel / "backends", part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(wheel / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub", part / "python")
        part.rename(backends)
    return backends


def _unusable(message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.DEPENDENCY_UNAVAILABLE, message, field="triton", remedy=remedy)
