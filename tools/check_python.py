"""Say in one sentence why this Python cannot carry the project, if it cannot: run by `make setup`."""

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path


def obstacle(python=sys.executable):
    """Return what is missing and how to get it, or None. Without annotations, for it runs on any Python 3."""
    if sys.version_info[:2] != (3, 11):
        return (
            f"{python} is not Python 3.11, which Triton's Python backend is built for: make PYTHON=/path/to/python3.11"
        )
    if find_spec("ensurepip") is None:
        return f"{python} cannot make virtual environments: apt-get install python3.11-venv"
    library = Path(sysconfig.get_config_var("LIBDIR"), "libpython3.11.so.1.0")
    if not library.exists():
        return f"Triton needs {library}, which is missing: apt-get install libpython3.11"
    return None


if __name__ == "__main__":
    sys.exit(obstacle())
