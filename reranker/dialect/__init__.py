"""The search dialect: parse searches that use camsearch's keys, and build answers. No I/O.

values      query strings, JSON values, paging and wildcards; errors and warnings
searches    `VisualSearch`, a parsed search, and the requests to Elasticsearch made from it
windows     vectors of 8 bits, restricted searches and boxes of windows
images      query images with boxes
options     re-ranking and expansion
parsing     a search's body and query string -> `VisualSearch`, or None if it uses no key of ours
msearch     the same for `_msearch`, and merging its answers
answers     Elasticsearch's hits in the new order; `filter_path`
endpoints   bodies of the endpoints below `/_camsearch`, with their schemas
"""
