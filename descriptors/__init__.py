"""The method: images in, unit vectors out. Independent of servers, queues and Elasticsearch."""
