"""The product's errors: each has a machine-readable reason, the offending field, and what to do about it.

They know nothing of gRPC; `services.core.rpc.errors` maps them to a status and back.
"""

from enum import StrEnum


class Reason(StrEnum):
    """The values of `abdomenatlas.type.v1.ErrorReason` without their prefix; a test holds the two together."""

    FIELD_REQUIRED = "FIELD_REQUIRED"
    FIELD_INVALID = "FIELD_INVALID"
    NAME_INVALID = "NAME_INVALID"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_CONFLICT = "RESOURCE_CONFLICT"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    FILE_NOT_NIFTI = "FILE_NOT_NIFTI"
    FILE_TRUNCATED = "FILE_TRUNCATED"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    IMAGE_NOT_3D = "IMAGE_NOT_3D"
    AFFINE_INVALID = "AFFINE_INVALID"
    VOXELS_NOT_FINITE = "VOXELS_NOT_FINITE"
    GEOMETRY_MISMATCH = "GEOMETRY_MISMATCH"
    LABEL_UNKNOWN = "LABEL_UNKNOWN"
    ORGAN_UNKNOWN = "ORGAN_UNKNOWN"
    MASK_NOT_BINARY = "MASK_NOT_BINARY"
    VOLUME_TOO_LARGE = "VOLUME_TOO_LARGE"
    FOLDER_EMPTY = "FOLDER_EMPTY"
    DTYPE_UNSUPPORTED = "DTYPE_UNSUPPORTED"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    UPLOAD_OFFSET_MISMATCH = "UPLOAD_OFFSET_MISMATCH"
    UPLOAD_EXPIRED = "UPLOAD_EXPIRED"
    TOO_MANY_UPLOADS = "TOO_MANY_UPLOADS"
    ARRAY_FILE_CORRUPT = "ARRAY_FILE_CORRUPT"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    MODEL_NOT_READY = "MODEL_NOT_READY"
    MODEL_CARD_INVALID = "MODEL_CARD_INVALID"
    MODEL_ANSWER_INVALID = "MODEL_ANSWER_INVALID"
    GRID_MISMATCH = "GRID_MISMATCH"
    CLASS_MAP_MISMATCH = "CLASS_MAP_MISMATCH"
    PROFILE_UNKNOWN = "PROFILE_UNKNOWN"
    WEIGHTS_UNSAFE = "WEIGHTS_UNSAFE"
    WEIGHTS_MISMATCH = "WEIGHTS_MISMATCH"
    TRAINING_DATA = "TRAINING_DATA"
    TRAINING_FAILED = "TRAINING_FAILED"
    DISK_FULL = "DISK_FULL"
    MODEL_VERSION_REFUSED = "MODEL_VERSION_REFUSED"
    LEASE_HELD = "LEASE_HELD"
    LEASE_LOST = "LEASE_LOST"
    REVIEW_STATE = "REVIEW_STATE"
    CAMPAIGN_STATE = "CAMPAIGN_STATE"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"


class AtlasError(Exception):
    """A refusal that says why.

    `message` is a sentence for people, `field` names the request field or file at fault, and `remedy` says what to do.
    None of them may hold a secret or text out of an image header.
    """

    def __init__(self, reason: Reason, message: str, *, field: str = "", remedy: str = "") -> None:
        # Both: an error that a process hands to another one is made anew of these.
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
        self.field = field
        self.remedy = remedy

    def __str__(self) -> str:
        """Field, message and remedy in one line; a message that begins with the field says it once."""
        field = "" if self.message.startswith(f"{self.field} ") else self.field
        return f"{f'{field}: ' if field else ''}{self.message}{f' {self.remedy}' if self.remedy else ''}"

    def at(self, field: str) -> "AtlasError":
        """The same refusal, for another field or file."""
        return AtlasError(self.reason, self.message, field=field, remedy=self.remedy)

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.reason in _PASSING


_PASSING = frozenset(
    {
        Reason.MODEL_NOT_READY,
        Reason.DEPENDENCY_UNAVAILABLE,
        Reason.SHUTTING_DOWN,
        Reason.DEADLINE_EXCEEDED,
        Reason.TOO_MANY_UPLOADS,
    }
)
