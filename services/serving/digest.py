"""One digest for all files of a model's folder: `python -m services.serving.digest models/unet` prints it.

The chart's init container computes the same with `sha256sum`, so that a pod serves only the models that were meant.
"""

import argparse
import hashlib
from pathlib import Path

from services.core.errors import AtlasError, Reason


def folder_digest(folder: Path) -> str:
    """SHA-256 over the lines "digest  ./path" of all files, in the order of the paths' bytes; 64 hex digits.

    Raises FOLDER_EMPTY if there is no file.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    names = sorted((path.relative_to(folder).as_posix() for path in files), key=lambda name: f"./{name}".encode())
    if not names:
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            "This is no folder with a file in it, so it has no digest.",
            field=str(folder),
            remedy="Name the folder of a model, with its config.pbtxt.",
        )
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  ./{name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def main() -> None:
    """Print a line for each folder; end with the reason if one has no digest."""
    parser = argparse.ArgumentParser(prog="python -m services.serving.digest", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="A model's folder.")
    try:
        for folder in parser.parse_args().folder:
            print(f"{folder_digest(folder)}  {folder}")
    except AtlasError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
