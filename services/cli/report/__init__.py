"""The campaign report: one self-contained HTML page with pictures."""
