"""Explain why a hit matched."""
