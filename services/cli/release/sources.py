"""Where the cases of a release come from, and on what terms."""

from collections import defaultdict
from dataclasses import dataclass

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.release.contents import Contents
from services.core import datasets


@dataclass(frozen=True)
class Source:
    """The cases of one dataset that came under one licence; what is not known is empty."""

    dataset: str
    licence: str
    cases: int
    hospitals: tuple[str, ...]
    """Where they were scanned, without those of which it is not known."""
    title: str = ""
    url: str = ""
    doubt: str = ""
    """Why the licence that is known of the dataset was not confirmed at its source."""


def sources(contents: Contents) -> list[Source]:
    """The sources of a release in the order of names."""
    volumes: dict[tuple[str, str], list[pb.Volume]] = defaultdict(list)
    for case in contents.cases:
        volumes[case.volume.dataset, case.volume.licence].append(case.volume)
    return [_source(dataset, licence, of) for (dataset, licence), of in sorted(volumes.items())]


def _source(dataset: str, licence: str, volumes: list[pb.Volume]) -> Source:
    hospitals = tuple(sorted({volume.hospital for volume in volumes} - {""}))
    if dataset not in datasets.names():
        return Source(dataset, licence, len(volumes), hospitals)
    known = datasets.load(dataset)
    doubt = known.unverified.get("licence", "") if licence == known.licence else ""
    url = known.source if known.source.startswith("http") else ""
    return Source(dataset, licence, len(volumes), hospitals, known.title, url, doubt)
