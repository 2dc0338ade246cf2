"""The search dialect: what our names in a search mean, and the answers to it. No I/O.

values      query strings, JSON values, pages and patterns read; errors and warnings written
searches    `VisualSearch`, a search understood, and what Elasticsearch is asked for it
options     an image with its box; re-ranking and expansion
parsing     a search's body and query string -> `VisualSearch`, or None: not ours
msearch     the same for the searches of an `_msearch`, and their answers put together
answers     what Elasticsearch answered, in our order, cut by `filter_path`
"""
