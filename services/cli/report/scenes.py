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
from services.cli.report.planes import Box, Plane, body_box, centroid, hottest_point, planes_through, sample
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
    """The picture rows of a case whose labels are ready: labels, attention, and before and after a revision."""
    assert case.labels is not None
    masks = storage.array(case.labels.masks)
    heat = storage.array(case.attention.heat) if case.attention else None
    before = storage.array(case.before.masks) if case.before else None
    hot = _hottest(heat) if heat else None
    looked_at = hot if hot is not None else _largest_organ(masks, case.labels)
    changed = _most_changed(before, masks) if before else None
    with _ct(storage, case.volume) as (ct, geometry):
        box = body_box(ct, geometry)
        planes = _planes(looked_at if looked_at is not None else (box[0] + box[1]) / 2, box)
        grey = [ct_picture(sample(ct, geometry, plane, outside=AIR_HU)) for plane in planes]
        planes_changed = _planes(changed, box) if changed is not None else []
        grey_changed = [ct_picture(sample(ct, geometry, plane, outside=AIR_HU)) for plane in planes_changed]
    outlines = _outlines(masks, planes, class_map)
    views = tuple(View(p, g, o) for p, g, o in zip(planes, grey, outlines, strict=True))
    rows = [Row("Labels", "through the region with most attention" if hot is not None else "", views)]
    if heat and hot is not None:
        hottest = _heat(heat, planes)
        rows.append(
            Row(
                "Attention",
                "where the models disagree, are unsure, or let organs overlap",
                tuple(View(p, g, heat=heat_picture(h)) for p, g, h in zip(planes, grey, hottest, strict=True)),
            )
        )
    if before and changed is not None:
        for title, array in (("Before the review", before), ("After the review", masks)):
            drawn = _outlines(array, planes_changed, class_map)
            caption = "through the place that changed most"
            views = tuple(View(p, g, o) for p, g, o in zip(planes_changed, grey_changed, drawn, strict=True))
            rows.append(Row(title, caption, views))
    return rows


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
    for organ in masks.channels:
        mask = uint8_channel(masks, organ)
        if not mask.any():
            continue
        colour = organ_colour(organ, class_map.organs.index(organ))
        for plane, outlines in zip(planes, drawn, strict=True):
            path = svg_path(contours(sample(mask, masks.geometry, plane, outside=0)))
            if path:
                outlines.append(Outline(organ, colour, path))
    return [tuple(outlines) for outlines in drawn]


def _heat(heat: ArrayFile, planes: list[Plane]) -> list[npt.NDArray[np.float32]]:
    """Heat from 0 to 1 on each plane: of all organs at a pixel the hottest."""
    hottest = [np.zeros(plane.shape, np.float32) for plane in planes]
    for organ in heat.channels:
        channel = uint8_channel(heat, organ)
        if not channel.any():
            continue
        for plane, picture in zip(planes, hottest, strict=True):
            np.maximum(picture, sample(channel, heat.geometry, plane, outside=0) / 255, out=picture)
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
