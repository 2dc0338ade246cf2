"""Requests that do not name us, in and out as bytes."""
