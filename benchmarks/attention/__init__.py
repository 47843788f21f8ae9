"""Attention against plain NumPy and SciPy: `python -m benchmarks.attention`."""
