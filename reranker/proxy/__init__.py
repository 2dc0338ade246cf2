"""Requests that do not name us, in and out as bytes: the server, and the client behind it."""
