"""A real Elasticsearch and a real Redis for the tests: `python -m tests.services --help`."""
