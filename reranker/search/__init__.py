"""Searches that carry an image."""
