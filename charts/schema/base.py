"""What all models of values share: strictness, and the types of Kubernetes' own notations."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Values(BaseModel):
    """A part of the values. Its docstrings become the comments in values.yaml; a name that is not there is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


Name = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
"""Name of an object in the cluster, or "" for none."""
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount in Kubernetes' notation."""
Digest = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
"""Digest of an image, or "" to go by its tag."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 as 64 hexadecimal digits."""
Port = Annotated[int, Field(ge=1, le=65535)]
"""TCP port."""
Replicas = Annotated[int, Field(ge=0, le=100)]
"""How many pods."""
Count = Annotated[int, Field(ge=1, le=100_000)]
"""A number of anything else; from a million on Helm would print it as 1e+06."""
Seconds = Annotated[int, Field(ge=1, le=86400)]
"""A duration in seconds."""
Texts = dict[str, str]
"""Labels, annotations and the like."""
Kubernetes = dict[str, Any]
"""An object of the Kubernetes API, passed on as it is."""


class KeyOf(Values):
    """One key of a Secret or ConfigMap that is there already."""

    name: Name = ""
    """Its name; empty for none."""
    key: str
    """The key in it."""
