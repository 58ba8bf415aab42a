"""Slow and obvious versions of what the packages do quickly."""
