"""One digest for all files of a model's folder: `python -m services.serving.digest models/unet` prints it.

The chart's init container computes the same with `sha256sum`, so that a pod serves only the models that were meant.
"""

import hashlib
import sys
from pathlib import Path


def folder_digest(folder: Path) -> str:
    """SHA-256 over the lines "digest  ./path" of all files, in the order of the paths' bytes; 64 hex digits."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    names = sorted((path.relative_to(folder).as_posix() for path in files), key=lambda name: f"./{name}".encode())
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  ./{name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"{folder_digest(Path(argument))}  {argument}")
