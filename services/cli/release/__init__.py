"""Releases: merged labels on disk in the BDMAP layout, with their provenance."""
