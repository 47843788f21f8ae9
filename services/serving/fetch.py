"""Fetch models from storage into a Triton repository: `python -m services.serving.fetch /repository unet=SHA256 ...`.

The digests are those that `atlas store-model` prints. ATLAS_STORAGE says where storage is; with ATLAS_CA, ATLAS_CERT
and ATLAS_KEY the call is encrypted and shows who asks.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.core import modelarchive
from services.core.errors import AtlasError
from services.core.rpc.credentials import Credentials
from services.core.storage import Storage


def fetch(storage: Storage, repository: Path, models: Sequence[str]) -> None:
    """Write each model, "name=sha256", into the repository. Raises what `get_file` and `unpack` raise."""
    for model in models:
        name, _, digest = model.partition("=")
        with tempfile.TemporaryDirectory(dir=repository, prefix=".fetch-") as folder:
            archive = Path(folder) / "model.tar"
            storage.get_file(f"objects/{digest}", archive)
            modelarchive.unpack(archive, repository, name)


def storage_of_environment() -> Storage:
    """Storage where, and as whom, the environment says."""
    given = {name: Path(value) for name in ("CA", "CERT", "KEY") if (value := os.environ.get(f"ATLAS_{name}"))}
    return Storage(os.environ["ATLAS_STORAGE"], Credentials(given.get("CA"), given.get("CERT"), given.get("KEY")))


def main() -> None:
    """End with the reason if a model cannot be had."""
    try:
        fetch(storage_of_environment(), Path(sys.argv[1]), sys.argv[2:])
    except AtlasError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
