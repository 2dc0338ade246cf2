"""The method: pictures in, unit vectors out. Knows no network, queue, web or Elasticsearch."""
