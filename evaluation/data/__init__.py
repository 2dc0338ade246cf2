"""Figures that others published, as JSON."""
