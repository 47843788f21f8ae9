"""What must hold of an attention map's regions before it is recorded."""

import math

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.finding_pb2 import SEVERITY_UNSPECIFIED, Finding, Severity
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.texts import require_text

MAX_REGIONS = 256
MAX_FINDINGS = 16
MAX_NUMBERS = 16


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
    if region.rank != index + 1:
        raise _invalid(f"{field}.rank", f"{region.rank} is not its place in the list.", "Number regions from 1 on.")
    if region.organ not in record.heat.channels:
        raise _invalid(f"{field}.organ", f"The heat has no channel {region.organ[:64]!r}.", "Name a scored organ.")
    if region.cause == pb.AttentionRegion.CAUSE_UNSPECIFIED or region.cause not in pb.AttentionRegion.Cause.values():
        raise _invalid(f"{field}.cause", "It is not set, or unknown.", "Say what speaks against the label.")
    _require_place(region, field, grid)
    for name in ("probability", "disagreement"):
        if not 0 <= getattr(region, name) <= 1:
            raise _invalid(f"{field}.{name}", f"{getattr(region, name)} is not between 0 and 1.", "Give a share.")
    if region.cause == pb.AttentionRegion.CAUSE_PRIOR and len(region.findings) != 1:
        raise _invalid(f"{field}.findings", "With CAUSE_PRIOR one finding is the region.", "Give that finding alone.")
    if len(region.findings) > MAX_FINDINGS:
        raise _invalid(f"{field}.findings", f"{len(region.findings)} are given.", f"Give at most {MAX_FINDINGS}.")
    for number, finding in enumerate(region.findings):
        _require_finding(finding, region.organ, f"{field}.findings[{number}]", grid)


def _require_finding(finding: Finding, organ: str, field: str, grid: Geometry) -> None:
    require_text(finding.rule, f"attention_map.{field}.rule", longest=64, required=True)
    require_text(finding.message, f"attention_map.{field}.message", longest=1024, required=True)
    if organ not in finding.organs:
        raise _invalid(f"{field}.organs", f"{organ} is not among them.", "Give findings to the organs they are about.")
    for name in finding.organs:
        require_text(name, f"attention_map.{field}.organs", longest=64, required=True)
    if finding.severity == SEVERITY_UNSPECIFIED or finding.severity not in Severity.values():
        raise _invalid(f"{field}.severity", "It is not set, or unknown.", "Say how sure it is to be an error.")
    if len(finding.evidence) > MAX_NUMBERS:
        raise _invalid(f"{field}.evidence", f"{len(finding.evidence)} are given.", f"Give at most {MAX_NUMBERS}.")
    for number in finding.evidence:
        require_text(number.name, f"attention_map.{field}.evidence.name", longest=64, required=True)
        if not math.isfinite(number.value):
            raise _invalid(f"{field}.evidence.value", f"{number.name} is {number.value}.", "Give finite numbers.")
    _require_place(finding, field, grid)


def _require_place(message: pb.AttentionRegion | Finding, field: str, grid: Geometry) -> None:
    """The box on the grid, the volume within the box, and a centre."""
    first, size = list(message.box.first), list(message.box.size)
    inside = len(first) == len(size) == 3 and all(
        n > 0 and f + n <= m for f, n, m in zip(first, size, grid.shape, strict=True)
    )
    if not inside:
        raise _invalid(f"{field}.box", f"{size} voxels at {first} do not lie on {grid}.", "Give a box on that grid.")
    box_mm3 = math.prod(size) * grid.voxel_volume_mm3
    # A NaN fails every comparison.
    if not 0 < message.volume_mm3 <= box_mm3 * (1 + 1e-6):
        raise _invalid(f"{field}.volume_mm3", f"{message.volume_mm3} is not within its box.", "Sum up its voxels.")
    if len(message.centre_mm) != 3 or not all(map(math.isfinite, message.centre_mm)):
        raise _invalid(f"{field}.centre_mm", "Three finite numbers are expected.", "Give R, A and S in mm.")


def _invalid(field: str, message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=f"attention_map.{field}", remedy=remedy)
