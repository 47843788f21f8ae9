"""Store a model's folder in storage, from where Triton's pods fetch it: `python -m services.serving.store FOLDER`.

It prints one JSON object: the model's name, and the digest by which the chart's values name what was stored. It is
`atlas store-model` for a pod without that command; the environment is that of `services.serving.fetch`.
"""

import json
import sys
import tempfile
from pathlib import Path

from services.core import modelarchive
from services.core.errors import AtlasError
from services.core.storage import Storage
from services.serving.fetch import storage_of_environment


def store(storage: Storage, folder: Path) -> str:
    """SHA-256 of the object that holds the folder; the same folder again gives the same one."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "model.tar"
        modelarchive.pack(folder.resolve(), archive)
        return storage.put_file(archive, keep=True).name.removeprefix("objects/")


def main() -> None:
    """End with the reason if it cannot be stored."""
    folder = Path(sys.argv[1])
    try:
        digest = store(storage_of_environment(), folder)
    except AtlasError as error:
        raise SystemExit(str(error)) from None
    print(json.dumps({"name": folder.resolve().name, "sha256": digest}))


if __name__ == "__main__":
    main()
