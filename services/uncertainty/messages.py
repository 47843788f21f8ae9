"""What is found, as the messages of the contract."""

from abdomenatlas.type.v1 import finding_pb2 as pb
from services.core.rpc.convert import box_to_proto
from services.uncertainty.priors.findings import Finding


def finding_message(finding: Finding) -> pb.Finding:
    """One finding, whether a check or a region of attention tells it."""
    return pb.Finding(
        rule=finding.rule,
        organs=finding.organs,
        severity=pb.Severity.ValueType(finding.severity),
        message=finding.message,
        evidence=[pb.Evidence(name=name, value=value) for name, value in finding.evidence.items()],
        box=box_to_proto(finding.region) if finding.region.voxels.size else None,
        centre_mm=finding.centre_mm or (),
        volume_mm3=finding.volume_mm3,
    )
