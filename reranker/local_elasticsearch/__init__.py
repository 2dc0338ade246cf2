"""A gallery in a folder that answers as an Elasticsearch would, for the smaller part of its API."""
