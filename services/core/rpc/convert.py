"""Messages of `abdomenatlas.type.v1` to and from the product's own types."""

from typing import cast

from abdomenatlas.type.v1 import array_pb2, geometry_pb2
from services.core.arrayfile import ArrayFile
from services.core.boxes import Boxed
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry


def geometry_to_proto(geometry: Geometry) -> geometry_pb2.Geometry:
    """The message of a geometry, with its digest."""
    return geometry_pb2.Geometry(shape=geometry.shape, affine=geometry.affine, digest=geometry.digest)


def geometry_from_proto(message: geometry_pb2.Geometry, field: str = "geometry") -> Geometry:
    """The geometry of a message. Raises FIELD_INVALID, AFFINE_INVALID, or DIGEST_MISMATCH if it is not what it says."""
    try:
        geometry = Geometry(cast(tuple[int, int, int], tuple(message.shape)), tuple(message.affine))
    except AtlasError as error:
        raise error.at(f"{field}.{error.field}") from error
    if message.digest != geometry.digest:
        raise AtlasError(
            Reason.DIGEST_MISMATCH, "The geometry's digest does not belong to its numbers.", field=f"{field}.digest"
        )
    return geometry


def box_to_proto(boxed: Boxed) -> geometry_pb2.VoxelBox:
    """The message of a box; in it the index runs i, j, k."""
    return geometry_pb2.VoxelBox(first=boxed.corner[::-1], size=boxed.voxels.shape[::-1])


def array_ref(object_ref: array_pb2.ObjectRef, array: ArrayFile) -> array_pb2.ArrayRef:
    """The record of an array file that is stored as `object_ref`."""
    return array_pb2.ArrayRef(
        object=object_ref,
        geometry=geometry_to_proto(array.geometry),
        channels=array.channels,
        dtype=array.dtype.name,
    )
