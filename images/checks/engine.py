"""Docker or podman, as far as both understand the same words.

RUNNER names one; RUNNER_OPTIONS are its own options, RUN_ARGS those of every `run`, as BUILDER_OPTIONS and BUILD_ARGS
are for `images/build`.
"""

import json
import os
import shlex
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CLOSED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
"""What the chart's security context asks of every container; the user is the image's own."""


class EngineError(RuntimeError):
    """A command of the engine failed; the text says which and why."""


@dataclass
class Engine:
    """Containers and volumes of one run; `remove` takes all of them away."""

    command: Sequence[str]
    run_args: Sequence[str] = ()
    run: str = field(default_factory=lambda: f"atlas-check-{uuid.uuid4().hex[:8]}")
    _containers: list[str] = field(default_factory=list)
    _volumes: list[str] = field(default_factory=list)

    @classmethod
    def find(cls) -> "Engine":
        """The one that RUNNER names, or the first whose engine answers. Raises EngineError if there is none."""
        options = shlex.split(os.environ.get("RUNNER_OPTIONS", ""))
        wanted = os.environ.get("RUNNER")
        for name in [wanted] if wanted else ["docker", "podman"]:
            found = cls([name, *options], shlex.split(os.environ.get("RUN_ARGS", "")))
            try:
                found.call("info")
            except (OSError, EngineError) as error:
                reason = str(error)
            else:
                # podman would put memory of its own over /tmp where a container asks for none, and docker not.
                if os.path.basename(name).startswith("podman"):
                    found.run_args = [*found.run_args, "--read-only-tmpfs=false"]
                return found
        raise EngineError(
            f"{wanted} does not answer: {reason}"
            if wanted
            else "nothing runs containers: start docker or install podman"
        )

    def call(self, *arguments: str, text: str | None = None, seconds: float = 600) -> str:
        """Run a command of the engine, `text` going in; what it prints."""
        done = subprocess.run(
            [*self.command, *arguments], input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            raise EngineError(f"{self.command[0]} {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def image(self, name: str) -> dict[str, Any] | None:
        """What is known of an image, with "Config" and "Size", or None if it is not here."""
        try:
            return dict(json.loads(self.call("image", "inspect", name))[0])
        except EngineError:
            return None

    def start(self, name: str, image: str, command: Sequence[str], options: Sequence[str]) -> str:
        """Start a container that stays; its full name."""
        full = f"{self.run}-{name}"
        self._containers.append(full)
        self.call("run", "--detach", "--name", full, *CLOSED, *self.run_args, *options, image, *command)
        return full

    def run_to_end(self, name: str, image: str, command: Sequence[str], options: Sequence[str]) -> str:
        """Run a container until it ends; what it printed. Raises EngineError with its log if it ended badly."""
        full = self.start(name, image, command, options)
        code = int(self.call("wait", full, seconds=1900))
        if code:
            raise EngineError(f"{name} ended with {code}\n{self.log(full)}")
        return self.log(full)

    def inside(self, container: str, *command: str, text: str | None = None) -> str:
        """Run a command in a running container; what it prints."""
        return self.call("exec", *(["--interactive"] if text is not None else []), container, *command, text=text)

    def is_running(self, container: str) -> bool:
        """Say whether a container has not ended."""
        return self.call("inspect", "--format", "{{.State.Running}}", container).strip() == "true"

    def log(self, container: str) -> str:
        """The last lines that a container wrote."""
        done = subprocess.run(
            [*self.command, "logs", "--tail", "40", container], capture_output=True, text=True, check=False
        )
        return (done.stdout + done.stderr).strip()

    def volume(self, name: str, image: str, files: Mapping[str, str]) -> str:
        """Make a volume that every user may write to, with `files` in it; its full name. `image` has a shell."""
        full = f"{self.run}-{name}"
        self._volumes.append(full)
        self.call("volume", "create", full)
        options = ["run", "--rm", "--interactive", "--network=none", "--user=0", "--entrypoint=sh", *self.run_args]
        fill = [*options, f"--volume={full}:/volume", image, "-euc"]
        self.call(*fill, "chmod 1777 /volume")
        for file, content in files.items():
            # Through the standard input, for a secret stands on no command line.
            self.call(*fill, 'cat > "/volume/$0"; chmod 444 "/volume/$0"', file, text=content)
        return full

    def remove(self) -> None:
        """Take everything of this run away."""
        for container in reversed(self._containers):
            # podman would wait for it to end.
            self._try("kill", container)
            self._try("rm", "--force", container)
        for volume in self._volumes:
            self._try("volume", "rm", "--force", volume)

    def _try(self, *arguments: str) -> None:
        subprocess.run([*self.command, *arguments], capture_output=True, check=False, timeout=300)
