"""The list of cases in a dataset.json, held against what is on disk."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from services.cli.ingest.discover import Refusal
from services.core.errors import AtlasError, Reason

_CHANNEL = "_0000"
"""What nnU-Net appends to the names of images, and leaves out in its lists."""


class DatasetList:
    """The files that a dataset.json lists: images, and their labels or "", as paths below `root` without suffix.

    Of folders that the list says nothing of, and without a list, nothing is refused.
    """

    def __init__(self, root: Path, listed: Mapping[str, str]) -> None:
        self._root, self._listed = root, listed
        self._folders = {_folder(image) for image in listed}

    def fault(self, image: str, *, is_labelled: bool) -> AtlasError | None:
        """Why the case of an image on disk is not what the list says of it, if so."""
        if _folder(image) not in self._folders:
            return None
        name = self._name(image)
        if name not in self._listed:
            return AtlasError(
                Reason.FIELD_INVALID,
                "The folder's dataset.json does not list it.",
                remedy="Remove the file, or list it.",
            )
        if self._listed[name] and not is_labelled:
            return AtlasError(
                Reason.RESOURCE_NOT_FOUND,
                f"Its label {self._listed[name]}.nii.gz is missing, which dataset.json lists.",
                remedy="Fetch the label, or take it off the list.",
            )
        return None

    def missing(self, images: Iterable[str]) -> Iterator[Refusal]:
        """What is listed and not among the images on disk: an image each, or the folder if all of it is missing."""
        there = {self._name(image) for image in images}
        for folder in sorted(self._folders):
            names = [name for name in self._listed if _folder(name) == folder]
            if not (self._root / folder).is_dir():
                message = f"The folder's dataset.json lists {len(names)} images in it, and it is not there."
                yield Refusal(self._root / folder, _not_there(message))
                continue
            for name in names:
                if name not in there:
                    message = "The folder's dataset.json lists it, and it is not there."
                    yield Refusal(self._root / f"{name}.nii.gz", _not_there(message))

    def _name(self, image: str) -> str:
        """The name that the list has for an image on disk."""
        return image if image in self._listed else image.removesuffix(_CHANNEL)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _not_there(message: str) -> AtlasError:
    return AtlasError(Reason.RESOURCE_NOT_FOUND, message, remedy="Fetch it, or take it off the list.")
