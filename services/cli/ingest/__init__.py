"""Bringing CTs and their source labels from folders into storage."""
