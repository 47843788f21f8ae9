"""Which versions of a model are served: promotion and rollback, in Triton's repository and in the running Triton.

Both write the version policy into the model's config.pbtxt, so that a restart serves the same, and then have Triton
load the model again. It loads beside what it serves, and goes over once the new one is ready: no call fails meanwhile.
A version that is promoted is loaded by itself before (`trial`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from services.core import modelversions
from services.core.access import identity
from services.core.errors import AtlasError, Reason
from services.core.folderlock import locked
from services.core.modelversions import refused
from services.inference.model import Model
from services.inference.triton import Triton

log = structlog.get_logger()


class Promoter:
    """Promotes and rolls back models of the repository that one Triton serves; None if it is not known here."""

    def __init__(self, triton: Triton, repository: Path | None) -> None:
        self._triton, self._repository = triton, repository

    def promote(self, model: str, version: str) -> Model:
        """Serve a newer version beside the one that was newest. Or have Triton load what is written down and not
        served: a model that came since it was started, a promotion that was interrupted.

        Raises MODEL_VERSION_REFUSED if its comparison says so, or is not with the one that is newest; MODEL_NOT_FOUND;
        and MODEL_CARD_INVALID if Triton cannot load it. Whatever is raised, what was served still is.
        """
        folder, number = self._version(model, version)
        with locked(folder):
            served = modelversions.served_in(folder)
            newest = served[-1]
            if number < newest:
                raise refused(model, number, f"Version {newest} is newer.", "Go back to it with a rollback.")
            if number > newest:
                modelversions.require_better(folder, number, newest)
                served = newest, number
            if number > newest or not self._answers(model, served):
                with _loading(model):
                    self._triton.try_version(folder, number)
                self._serve(model, folder, served)
                log.info("model promoted", model=model, version=number, served=served, actor=identity.actor())
        return self._triton.model(model, str(number))

    def rollback(self, model: str, version: str) -> Model:
        """Go back to an earlier version, or, with version "", to the one that is served beside the newest; or finish a
        rollback that was interrupted.

        Raises MODEL_VERSION_REFUSED if there is none, MODEL_NOT_FOUND, and MODEL_CARD_INVALID if it cannot be loaded.
        """
        folder = self._folder(model)
        with locked(folder):
            served = modelversions.served_in(folder)
            *earlier, newest = served
            is_loaded = self._triton.serves(model, served)
            if not version and not earlier and is_loaded:
                raise refused(model, newest, "No other version is served.", "Name the version to go back to.")
            number = self._version(model, version)[1] if version else (earlier or [newest])[-1]
            if number > newest:
                raise refused(model, number, f"It is newer than version {newest}.", "Promote it instead.")
            if number < newest or not is_loaded:
                self._serve(model, folder, [number] if number < newest else served)
                log.info("model rolled back", model=model, version=number, left=newest, actor=identity.actor())
        return self._triton.model(model, str(number))

    def _folder(self, model: str) -> Path:
        if self._repository is None:
            raise AtlasError(
                Reason.MODEL_VERSION_REFUSED,
                "This service does not know Triton's model repository.",
                field="name",
                remedy="Where Triton fetches its models from storage, store the folder with `atlas store-model` and "
                "name its digest in the chart's values. Elsewhere set ATLAS_INFERENCE_MODEL_REPOSITORY.",
            )
        folder = self._repository / model
        if not (folder / modelversions.CONFIG_FILE).is_file():
            raise _not_found(model, "There is no such model in Triton's repository.")
        return folder

    def _version(self, model: str, version: str) -> tuple[Path, int]:
        folder = self._folder(model)
        there = modelversions.numbers(folder)
        if not version.isdecimal() or int(version) not in there:
            versions = ", ".join(map(str, there))
            raise _not_found(model, f"There is no version {version} of {model}; there are {versions}.")
        return folder, int(version)

    def _answers(self, model: str, versions: Sequence[int]) -> bool:
        """Whether Triton has loaded these versions and no others, the newest with a card."""
        return self._triton.serves(model, versions) and self._triton.model(model, str(versions[-1])).card is not None

    def _serve(self, model: str, folder: Path, versions: Sequence[int]) -> None:
        """In a folder that is locked, so that what is brought back is what was there."""
        config = (folder / modelversions.CONFIG_FILE).read_text()
        modelversions.write_config(folder, modelversions.with_served(config, versions))
        try:
            with _loading(model):
                self._triton.load(model)
        except AtlasError:
            # Triton goes on with what it had; of several, those that took the new one go back to it.
            modelversions.write_config(folder, config)
            with suppress(AtlasError):
                self._triton.load(model)
            raise


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """Say of a version that fails what that means to who asked for it."""
    try:
        yield
    except AtlasError as error:
        if error.reason is not Reason.MODEL_ANSWER_INVALID:
            raise
        message = f"Triton cannot load it, and serves what it served: {error.message}"
        raise AtlasError(
            Reason.MODEL_CARD_INVALID, message, field=f"models/{model}", remedy="Read Triton's log."
        ) from error


def _not_found(model: str, message: str) -> AtlasError:
    remedy = "List the models to see which there are."
    return AtlasError(Reason.MODEL_NOT_FOUND, message, field=f"models/{model}", remedy=remedy)
