"""Single-node stores for looking at the product. Not for production."""

from charts.schema.base import Name, Quantity, Values
from charts.schema.pods import Image, Placement, Resources, resources


class EvaluationStore(Placement):
    """One server on one volume, without replicas or backup."""

    size: Quantity = "20Gi"
    """Size of its volume."""
    storageClass: Name = ""
    """Storage class of its volume; the cluster's default if empty."""
    resources: Resources
    """CPU and memory of its container."""


class Evaluation(Values):
    """PostgreSQL and S3 for an evaluation: one pod each, plain connections. NOT FOR PRODUCTION."""

    enabled: bool = False
    """Whether they run; then `postgresql`, `s3` and the databases' Secrets are not asked for."""
    existingSecret: Name = ""
    """Secret that is there already, with the keys password, storage-url, scheduler-url, access-key and secret-key,
    instead of one that is drawn at the first installation. Name one where a tool only renders the chart (helm template,
    Argo CD): it cannot look up what was drawn and would draw anew at every rendering, which the servers do not know."""
    image: Image = Image(repository="abdomenatlas/evaluation")
    """Image that holds both servers, from Debian's packages."""
    postgresql: EvaluationStore = EvaluationStore(size="10Gi", resources=resources("100m", "256Mi", "1Gi"))
    """PostgreSQL."""
    s3: EvaluationStore = EvaluationStore(size="50Gi", resources=resources("200m", "1Gi", "2Gi"))
    """Ceph RGW over one monitor and one disk."""
