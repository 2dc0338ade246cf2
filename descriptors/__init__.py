"""The method: images in, unit vectors out. Knows no network, queue, web or Elasticsearch."""
