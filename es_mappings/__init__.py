"""Galleries in Elasticsearch: the mapping, reading, bulk writing, and indices behind aliases."""
