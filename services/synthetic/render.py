"""From a patient to tissues and HU on any voxel grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.core.geometry import Geometry
from services.synthetic.frame import paint_frame
from services.synthetic.layers import Layer
from services.synthetic.patients import BEND_MM, Patient
from services.synthetic.shapes import Array, Shape, Tube
from services.synthetic.tissues import Tissue

Crop = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Space:
    """A voxel grid (z, y, x) seen from the patient: the patient coordinates in mm of every voxel centre."""

    x: Array
    y: Array
    z: Array
    bumps: Array
    to_index: NDArray[np.float64]
    reach_mm: float

    @staticmethod
    def of(patient: Patient, geometry: Geometry) -> "Space":
        """Place the patient in a grid."""
        to_patient = np.eye(4)
        to_patient[:3, :3] = np.diag(1 / patient.size) @ patient.turn.T
        to_patient = to_patient @ geometry.matrix
        k, j, i = np.ogrid[tuple(slice(n) for n in geometry.array_shape)]
        straight = [np.asarray(row[0] * i + row[1] * j + row[2] * k + row[3], np.float32) for row in to_patient[:3]]
        bent = [
            axis + np.float32(BEND_MM) * field.at(*straight)
            for axis, field in zip(straight, patient.bends, strict=True)
        ]
        x, y, z = bent
        return Space(x, y, z, patient.bumps.at(*straight), np.linalg.inv(to_patient), patient.reach_mm)

    def crop(self, shape: Shape, margin_mm: float) -> Crop | None:
        """The sub-grid that can hold a shape, or None if it lies outside."""
        low, high = shape.box()
        low, high = low - margin_mm - self.reach_mm, high + margin_mm + self.reach_mm
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
        index = self.to_index[:3, :3] @ corners + self.to_index[:3, 3:]
        first = np.maximum(np.floor(index.min(axis=1)), 0).astype(int)
        last = np.minimum(np.ceil(index.max(axis=1)) + 1, self.x.shape[::-1]).astype(int)
        if (first >= last).any():
            return None
        i, j, k = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return k, j, i

    def distance(self, shape: Shape, crop: Crop, margin_mm: float) -> Array:
        """Signed distance in mm on a crop; a tube is measured piece by piece on smaller crops."""
        if not isinstance(shape, Tube):
            return shape.distance(self.x[crop], self.y[crop], self.z[crop])
        nearest = np.full(self.x[crop].shape, 1e3, np.float32)
        for piece in shape.pieces():
            part = self.crop(piece, margin_mm)
            if part is None:
                continue
            local = tuple(slice(p.start - c.start, p.stop - c.start) for p, c in zip(part, crop, strict=True))
            np.minimum(nearest[local], piece.distance(self.x[part], self.y[part], self.z[part]), out=nearest[local])
        return nearest


def paint(patient: Patient, geometry: Geometry) -> NDArray[np.uint8]:
    """Tissue of every voxel (z, y, x), by `Tissue` value, sampled at voxel centres."""
    space = Space.of(patient, geometry)
    tissues, cavity = paint_frame(patient.frame, space.x, space.y, space.z, space.bumps)
    for layer in patient.layers:
        _paint_layer(layer, space, tissues, cavity)
    return tissues


def _paint_layer(layer: Layer, space: Space, tissues: NDArray[np.uint8], cavity: NDArray[np.bool_]) -> None:
    margin = layer.halo_mm + 2 * layer.bumps_mm
    crop = space.crop(layer.shape, margin)
    if crop is None:
        return
    distance = space.distance(layer.shape, crop, margin)
    if layer.bumps_mm:
        distance += np.float32(layer.bumps_mm) * space.bumps[crop]
    canvas = tissues[crop]
    allowed = cavity[crop].copy() if layer.in_cavity else np.ones(canvas.shape, np.bool_)
    if layer.only_over:
        allowed &= np.isin(canvas, layer.only_over)
    if layer.halo_mm:
        canvas[allowed & (distance < layer.halo_mm) & (canvas != Tissue.LUNG)] = Tissue.MESENTERY
    for depth, tissue in layer.fill:
        canvas[allowed & (distance < -depth)] = tissue
    if layer.gas_above:
        level, gas = layer.gas_above
        canvas[allowed & (distance < -layer.fill[-1][0]) & (space.y[crop] > level)] = gas


def hounsfield(
    patient: Patient,
    tissues: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    noise_hu: float,
    blur: tuple[float, float, float],
    grain: float,
) -> NDArray[np.float32]:
    """HU (z, y, x): tissue means and texture, blurred by `blur`, and noise blurred by `grain` (in voxels)."""
    image = patient.mean[tissues]
    image += patient.texture[tissues] * rng.standard_normal(tissues.shape, np.float32)
    image = ndimage.gaussian_filter(image, blur, truncate=2.5)
    noise = rng.standard_normal(tissues.shape, np.float32)
    grainy = ndimage.gaussian_filter(noise, (0.3, grain, grain), truncate=2.5)
    return np.asarray(image + np.float32(noise_hu / grainy.std()) * grainy, np.float32)
