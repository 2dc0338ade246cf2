"""The plugin of es_plugin/ in real nodes of Elasticsearch."""
