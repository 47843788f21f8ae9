"""The pictures of one case: which planes, and what is drawn on them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.masks import uint8_channel
from services.cli.report.colours import organ_colour
from services.cli.report.contours import contours, svg_path
from services.cli.report.facts import CaseFacts
from services.cli.report.pictures import ct_picture, heat_picture
from services.cli.report.planes import Box, Plane, Sampler, body_box, centroid, hottest_point, planes_through
from services.core.arrayfile import ArrayFile
from services.core.classmaps import ClassMap
from services.core.geometry import Geometry
from services.core.nifti import read_ct
from services.core.storage import Storage

MAX_PIXELS = 520
LEAST_PIXEL_MM = 0.6
AIR_HU = -1024.0
Point = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """One organ's edge on a plane, as SVG path data in pixels."""

    organ: str
    colour: str
    path: str


@dataclass(frozen=True)
class View:
    """One plane with what is drawn on it."""

    plane: Plane
    ct: str
    outlines: tuple[Outline, ...] = ()
    heat: str = ""


@dataclass(frozen=True)
class Row:
    """Three planes side by side."""

    title: str
    caption: str
    views: tuple[View, ...]


def case_rows(storage: Storage, case: CaseFacts, class_map: ClassMap) -> list[Row]:
    """The picture rows of a case whose labels are ready, all through one place.

    That is the place that a revision changed most, else the most urgent region, else the hottest voxel, else the middle
    of the largest organ.
    """
    assert case.labels is not None
    masks = storage.array(case.labels.masks)
    heat = storage.array(case.attention.heat) if case.attention else None
    before = storage.array(case.before.masks) if case.before else None
    point, where = _place(case, masks, heat, before)
    with _ct(storage, case.volume) as (ct, geometry):
        box = body_box(ct, geometry)
        planes = _planes(point if point is not None else (box[0] + box[1]) / 2, box)
        grey = [ct_picture(Sampler(geometry, plane)(ct, outside=AIR_HU)) for plane in planes]
    outlines = _outlines(masks, planes, class_map)
    attention = _heat(heat, planes) if heat else []

    def row(title: str, caption: str, drawn: list[tuple[Outline, ...]], hot: list[str] | None = None) -> Row:
        columns = zip(planes, grey, drawn, hot or [""] * len(planes), strict=True)
        return Row(title, caption, tuple(View(*column) for column in columns))

    rows = []
    if before:
        drawn = _outlines(before, planes, class_map)
        rows.append(row("Before the review", where, drawn))
    else:
        drawn = outlines
        rows.append(row("Labels", where, outlines))
    if any(picture.any() for picture in attention):
        caption = "where the labels are probably wrong"
        rows.append(row("Attention", caption, drawn, [heat_picture(picture) for picture in attention]))
    if before:
        rows.append(row("After the review", where, outlines))
    return rows


def _place(
    case: CaseFacts, masks: ArrayFile, heat: ArrayFile | None, before: ArrayFile | None
) -> tuple[Point | None, str]:
    """Where to look (RAS+ mm), and what is there."""
    assert case.labels is not None
    if before and (changed := _most_changed(before, masks)) is not None:
        return changed, "through the place that changed most"
    if case.attention and case.attention.regions:
        first = case.attention.regions[0]
        return np.array(first.centre_mm), f"through the place to look at first, in {first.organ.replace('_', ' ')}"
    if heat and (hottest := _hottest(heat)) is not None:
        return hottest, "through the place with most attention"
    return _largest_organ(masks, case.labels), "through the middle of the largest organ"


@contextmanager
def _ct(storage: Storage, volume: pb.Volume) -> Iterator[tuple[npt.NDArray[np.int16], Geometry]]:
    """The CT's voxels (k, j, i), in memory only inside this block."""
    with tempfile.TemporaryDirectory(prefix="atlas-report-") as folder:
        path = Path(folder) / "ct.nii.gz"
        storage.get_file(volume.ct, path)
        ct = read_ct(path)
        yield ct.voxels, ct.geometry


def _planes(point: Point, box: Box) -> list[Plane]:
    pixel_mm = max(LEAST_PIXEL_MM, float((box[1] - box[0]).max()) / MAX_PIXELS)
    return planes_through(point, box, pixel_mm)


def _outlines(masks: ArrayFile, planes: list[Plane], class_map: ClassMap) -> list[tuple[Outline, ...]]:
    drawn: list[list[Outline]] = [[] for _ in planes]
    samplers = [Sampler(masks.geometry, plane) for plane in planes]
    for organ in masks.channels:
        mask = uint8_channel(masks, organ)
        if not mask.any():
            continue
        colour = organ_colour(organ, class_map.organs.index(organ))
        for sampler, outlines in zip(samplers, drawn, strict=True):
            path = svg_path(contours(sampler(mask, outside=0)))
            if path:
                outlines.append(Outline(organ, colour, path))
    return [tuple(outlines) for outlines in drawn]


def _heat(heat: ArrayFile, planes: list[Plane]) -> list[npt.NDArray[np.float32]]:
    """Heat from 0 to 1 on each plane: of all organs at a pixel the hottest."""
    hottest = [np.zeros(plane.shape, np.float32) for plane in planes]
    samplers = [Sampler(heat.geometry, plane) for plane in planes]
    for organ in heat.channels:
        channel = uint8_channel(heat, organ)
        if not channel.any():
            continue
        for sampler, picture in zip(samplers, hottest, strict=True):
            np.maximum(picture, sampler(channel, outside=0) / 255, out=picture)
    return hottest


def _hottest(heat: ArrayFile) -> Point | None:
    total = np.zeros(heat.geometry.array_shape, np.uint16)
    for organ in heat.channels:
        total += uint8_channel(heat, organ)
    return hottest_point(total, heat.geometry)


def _largest_organ(masks: ArrayFile, labels: pb.LabelVersion) -> Point | None:
    if not labels.organs:
        return None
    largest = max(labels.organs, key=lambda organ: organ.voxels)
    return centroid(uint8_channel(masks, largest.organ), masks.geometry)


def _most_changed(before: ArrayFile, after: ArrayFile) -> Point | None:
    total = np.zeros(after.geometry.array_shape, np.uint8)
    for organ in after.channels:
        if organ in before.channels:
            total += uint8_channel(before, organ) != uint8_channel(after, organ)
    return hottest_point(total, after.geometry)
