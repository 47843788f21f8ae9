"""Where the bytes are kept: one small port and what stands behind it."""
