"""The proxy: an HTTP server, routing, and a client that forwards requests byte for byte."""
