"""The search dialect: what our names in a search mean, and the answers to it. No I/O.

parsing     a search's body and query string -> `VisualSearch`, or None: not ours
msearch     the same for the searches of an `_msearch`, and their answers put together
bodies      `VisualSearch` and vectors -> what Elasticsearch is asked
answers     what Elasticsearch answered, in our order
wording     errors and warnings as Elasticsearch writes them
"""
