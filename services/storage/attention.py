"""What must hold of an attention map's regions before it is recorded."""

import math

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.texts import require_text

MAX_REGIONS = 256


def require_regions(record: pb.AttentionMap, grid: Geometry) -> None:
    """Raise FIELD_INVALID unless every region lies on the heat's grid, in rank order, within its box and its bounds."""
    if len(record.regions) > MAX_REGIONS:
        raise _invalid("regions", f"{len(record.regions)} regions are listed.", f"List at most {MAX_REGIONS}.")
    if record.region_count < len(record.regions):
        raise _invalid("region_count", "It is below the number of regions that are listed.", "Count all regions.")
    for index, region in enumerate(record.regions):
        _require_region(region, index, record, grid)


def _require_region(region: pb.AttentionRegion, index: int, record: pb.AttentionMap, grid: Geometry) -> None:
    field = f"regions[{index}]"
    first, size = list(region.box.first), list(region.box.size)
    if region.rank != index + 1:
        raise _invalid(f"{field}.rank", f"{region.rank} is not its place in the list.", "Number regions from 1 on.")
    if region.organ not in record.heat.channels:
        raise _invalid(f"{field}.organ", f"The heat has no channel {region.organ[:64]!r}.", "Name a scored organ.")
    if region.cause == pb.AttentionRegion.CAUSE_UNSPECIFIED or region.cause not in pb.AttentionRegion.Cause.values():
        raise _invalid(f"{field}.cause", "It is not set, or unknown.", "Say what speaks against the label.")
    if (region.cause == pb.AttentionRegion.CAUSE_PRIOR) != bool(region.rule):
        raise _invalid(f"{field}.rule", "A rule is named with CAUSE_PRIOR, and only then.", "Name the rule, or none.")
    inside = len(first) == len(size) == 3 and all(
        n > 0 and f + n <= m for f, n, m in zip(first, size, grid.shape, strict=True)
    )
    if not inside:
        raise _invalid(f"{field}.box", f"{size} voxels at {first} do not lie on {grid}.", "Give a box on that grid.")
    box_mm3 = math.prod(size) * grid.voxel_volume_mm3
    # A NaN fails every comparison.
    if not 0 < region.volume_mm3 <= box_mm3 * (1 + 1e-6):
        raise _invalid(f"{field}.volume_mm3", f"{region.volume_mm3} is not within its box.", "Sum up its voxels.")
    for name in ("probability", "disagreement"):
        if not 0 <= getattr(region, name) <= 1:
            raise _invalid(f"{field}.{name}", f"{getattr(region, name)} is not between 0 and 1.", "Give a share.")
    if len(region.centre_mm) != 3 or not all(map(math.isfinite, region.centre_mm)):
        raise _invalid(f"{field}.centre_mm", "Three finite numbers are expected.", "Give R, A and S in mm.")
    require_text(region.rule, f"attention_map.{field}.rule", longest=64)
    require_text(region.message, f"attention_map.{field}.message", longest=1024)


def _invalid(field: str, message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=f"attention_map.{field}", remedy=remedy)
