"""Searching: first search, re-ranking, expansion and the proxy in front of Elasticsearch."""
