"""Searches that carry a picture."""
