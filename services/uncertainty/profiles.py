"""The attention profiles that this service offers."""

from services.core.errors import AtlasError, Reason
from services.uncertainty.attention import Profile
from services.uncertainty.calibrated import CALIBRATED
from services.uncertainty.parity import PARITY

DEFAULT = CALIBRATED.name
PROFILES = {profile.name: profile for profile in (CALIBRATED, PARITY)}


def find(name: str) -> Profile:
    """The profile of that name; the default if it is empty. Raises PROFILE_UNKNOWN."""
    profile = PROFILES.get(name or DEFAULT)
    if profile is None:
        raise AtlasError(
            Reason.PROFILE_UNKNOWN,
            f"There is no attention profile {name[:64]!r}.",
            field="profile",
            remedy=f"Known: {', '.join(sorted(PROFILES))}.",
        )
    return profile
