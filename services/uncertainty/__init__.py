"""Says where an ensemble is probably wrong."""
