"""The way of a query to its answer."""
