"""Places to look at, and what anatomical rules found, in words and numbers for people."""

from collections.abc import Iterable

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1 import finding_pb2
from abdomenatlas.type.v1.finding_pb2 import Evidence, Finding

SEVERITIES = {
    finding_pb2.SEVERITY_ERROR: "error",
    finding_pb2.SEVERITY_WARNING: "warning",
    finding_pb2.SEVERITY_NOTICE: "notice",
}
_CAUSES = {
    pb.AttentionRegion.CAUSE_ADD: "the networks see more of it here",
    pb.AttentionRegion.CAUSE_REMOVE: "the networks doubt that it is here",
    pb.AttentionRegion.CAUSE_OVERLAP: "another organ claims the same voxels",
    pb.AttentionRegion.CAUSE_PRIOR: "an anatomical rule points here",
    pb.AttentionRegion.CAUSE_LIKE: "in the CT, tissue beside the label looks like the organ",
    pb.AttentionRegion.CAUSE_UNLIKE: "in the CT, this part of the label does not look like the organ",
}
_UNITS = ("mm", "mm2", "mm3", "ml", "slices", "voxels")
MAX_FINDINGS = 3
"""Findings that are shown of a region, the gravest ones."""


def why(region: pb.AttentionRegion) -> list[str]:
    """What speaks against the label there, and line by line what rules found."""
    lines = [_CAUSES.get(region.cause, ""), *map(_line, region.findings[:MAX_FINDINGS])]
    more = len(region.findings) - MAX_FINDINGS
    return lines + [f"and {more} more"] * (more > 0)


def centre(centre_mm: Iterable[float]) -> str:
    """(R, A, S) in mm as directions in the patient: "R 31, P 12, S 5"."""
    return ", ".join(f"{ends[mm < 0]} {abs(mm):.0f}" for ends, mm in zip(("RL", "AP", "SI"), centre_mm, strict=True))


def numbers(finding: Finding) -> str:
    """The evidence of a finding: "extra 7.2 ml, gap 31 mm"."""
    return ", ".join(map(_number, finding.evidence))


def _line(finding: Finding) -> str:
    severity, evidence = SEVERITIES.get(finding.severity, ""), numbers(finding)
    told = f"{severity} ({finding.rule})" if severity else finding.rule
    return f"{told}: {finding.message}" + (f" {evidence[0].upper()}{evidence[1:]}." if evidence else "")


def _number(evidence: Evidence) -> str:
    *words, last = evidence.name.split("_")
    if last == "share":
        return f"{' '.join(words)} {evidence.value:.0%}"
    value = _rounded(evidence.value)
    return " ".join([*words, value, last] if last in _UNITS else [*words, last, value])


def _rounded(value: float) -> str:
    """Three digits or so: 0.12, 3.4, 125, 1,609."""
    digits = f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2}f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
