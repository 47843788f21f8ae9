"""A release taken into an archive again: the same records, with masks of the same origins."""
