"""Trainings as processes of this machine: one folder each, which is the record, so that a new scheduler finds them.

So many run at once as there are slots; the others wait for their turn, the oldest first, and over a restart. A training
that runs ends with the scheduler: storage, which it reads from, does too. Started again, it goes on from its last
checkpoint.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import structlog

from services.core.errors import AtlasError, Reason
from services.core.folderlock import locked
from services.core.names import content_id, require_id
from services.scheduler.trainings import ENDED, State, Training

_ABOUT, _OUTPUT, _CODE = "about.json", "output.log", "code"
_ID_LETTERS = 20
_TAIL = 4096
_LOOK_SECONDS, _TURN_SECONDS = 0.2, 1.0
# The shell writes down how the training ended, whoever is still there to ask.
_SCRIPT = 'output=$1 code=$2; shift 2; "$@" > "$output" 2>&1; echo $? > "$code.part"; mv "$code.part" "$code"'

log = structlog.get_logger()


class TrainingProcesses:
    """The `TrainingRunner` of one machine: `repository` holds the models, `folder` the trainings and their cache.

    `environment` says where storage is. At most `slots` trainings run at once.
    """

    def __init__(self, repository: Path, folder: Path, environment: Mapping[str, str], slots: int = 1) -> None:
        self.repository = str(repository.resolve())
        self._folder, self._environment, self._slots = folder.resolve(), environment, slots
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="trainings", daemon=True)

    def serve(self) -> None:
        """From now on, begin those that wait whenever there is a slot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def _look(self) -> None:
        said = ""
        while not self._stopping.wait(_TURN_SECONDS):
            try:
                with locked(self._folder):
                    self._fill()
                said = ""
            # Whatever it was, a later look may find it mended; without this thread nothing that waits would ever begin.
            except Exception as error:
                if str(error) != said:
                    log.exception("no waiting training can begin", error=str(error))
                said = str(error)

    def start(self, plan: Mapping[str, Any], arguments: list[str], actor: str) -> Training:
        """Start a training, or find the one that waits or runs with these arguments; one that has ended goes on."""
        training_id = content_id(*arguments)[:_ID_LETTERS]
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder):
            with suppress(AtlasError):
                known = self.get(training_id)
                if known.state not in ENDED:
                    return known
            home = self._folder / training_id
            home.mkdir(parents=True, exist_ok=True)
            (home / _OUTPUT).write_text("")
            create_time = datetime.now(UTC).isoformat()
            _write(home, {"plan": dict(plan), "arguments": arguments, "actor": actor, "create_time": create_time})
            self._fill()
            return self.get(training_id)

    def _fill(self) -> None:
        """Begin those that wait, while there are slots; with the folder locked. None once the scheduler ends."""
        if self._stopping.is_set():
            return
        known = self.all()
        running = sum(one.state == State.RUNNING for one in known)
        waiting = [one.id for one in reversed(known) if one.state == State.WAITING]
        for training_id in waiting[: max(self._slots - running, 0)]:
            self._begin(self._folder / training_id)

    def _begin(self, home: Path) -> None:
        about = json.loads((home / _ABOUT).read_text())
        command = [
            sys.executable,
            "-m",
            "services.serving.training",
            *about["arguments"],
            "--cache",
            str(self._folder / "cache"),
        ]
        # What a training left that could not be written down is not this one's end.
        (home / _CODE).unlink(missing_ok=True)
        process = psutil.Popen(
            ["sh", "-c", _SCRIPT, "sh", str(home / _OUTPUT), str(home / _CODE), *command],
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        begun = {"pid": process.pid, "started": process.create_time()}
        try:
            _write(home, about | begun)
        except BaseException:
            # Nobody would know of it, and every look would start one more.
            _kill(begun)
            raise

    def get(self, training_id: str) -> Training:
        """A training. Raises RESOURCE_NOT_FOUND."""
        home = self._folder / require_id(training_id, "name")
        try:
            return _training(home)
        except (OSError, ValueError, KeyError, TypeError):
            # What is half deleted, or damaged, is none.
            raise AtlasError(
                Reason.RESOURCE_NOT_FOUND,
                "There is no such training.",
                field=f"trainings/{training_id}",
                remedy="List the trainings to see which there are.",
            ) from None

    def all(self) -> list[Training]:
        """All trainings, newest first."""
        found = []
        for about in self._folder.glob(f"*/{_ABOUT}"):
            with suppress(AtlasError):
                found.append(self.get(about.parent.name))
        return sorted(found, key=lambda one: one.create_time, reverse=True)

    def cancel(self, training_id: str) -> None:
        """End a training, or forget one that has ended. Raises RESOURCE_NOT_FOUND."""
        self.get(training_id)
        home = self._folder / training_id
        with locked(self._folder):
            with suppress(OSError, ValueError):
                _kill(json.loads((home / _ABOUT).read_text()))
            # First what makes it a training: killed here, nobody finds half of one.
            (home / _ABOUT).unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
            self._fill()

    def wait(self, training_id: str, seconds: int) -> None:
        """Return when the training has said something or ended, or after `seconds`."""
        deadline, before = time.monotonic() + seconds, self.get(training_id)
        while before.state not in ENDED and time.monotonic() < deadline and self.get(training_id) == before:
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """End those that run; those that wait begin after a restart."""
        self._stopping.set()
        if not self._folder.exists():
            return
        with locked(self._folder):
            for about in self._folder.glob(f"*/{_ABOUT}"):
                with suppress(OSError, ValueError):
                    _kill(json.loads(about.read_text()))


def _write(home: Path, about: Mapping[str, Any]) -> None:
    part = home / f"{_ABOUT}.part"
    part.write_text(json.dumps(about))
    part.replace(home / _ABOUT)


def _training(home: Path) -> Training:
    about = json.loads((home / _ABOUT).read_text())
    state, end_time = _state(home, about)
    return Training(
        id=home.name,
        plan=about["plan"],
        actor=about["actor"],
        state=state,
        message=_message(home, state),
        create_time=datetime.fromisoformat(about["create_time"]),
        end_time=end_time,
    )


def _state(home: Path, about: dict[str, Any]) -> tuple[State, datetime | None]:
    code = home / _CODE
    if "pid" not in about:
        return State.WAITING, None
    if not code.exists() and _process(about):
        return State.RUNNING, None
    # Asked last, for it may have ended just now.
    if not code.exists():
        return State.FAILED, datetime.fromtimestamp((home / _OUTPUT).stat().st_mtime, UTC)
    state = State.DONE if code.read_text().strip() == "0" else State.FAILED
    return state, datetime.fromtimestamp(code.stat().st_mtime, UTC)


def _message(home: Path, state: State) -> str:
    """The last line of what it printed, which is its result if it is done."""
    if state == State.WAITING:
        return "It begins when another training has ended."
    with (home / _OUTPUT).open("rb") as output:
        output.seek(max(output.seek(0, os.SEEK_END) - _TAIL, 0))
        lines = output.read().decode(errors="replace").strip().splitlines()
    if state == State.FAILED and not (home / _CODE).exists():
        return "It was ended from outside; started again, it goes on from its last checkpoint."
    return lines[-1] if lines else ""


def _process(about: dict[str, Any]) -> psutil.Process | None:
    """The shell around the training, if it still runs and is not another process of that number."""
    with suppress(psutil.Error, KeyError, TypeError):
        process = psutil.Process(about["pid"])
        if process.create_time() == about["started"] and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _kill(about: dict[str, Any]) -> None:
    if process := _process(about):
        with suppress(ProcessLookupError, psutil.Error):
            # It began a session, so its group is its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
