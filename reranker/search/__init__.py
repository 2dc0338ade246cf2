"""Image searches over Elasticsearch."""
