"""Galleries: what a document is, how one is searched and written, and the one in a folder."""
