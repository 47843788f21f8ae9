"""The benchmark of the paper's poster: networks trained inside and outside the hospital that they are tested in."""
