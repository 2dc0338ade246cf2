"""Benchmarks: ratios measured side by side in one run, since machines are noisy.

local     encode and rerank: no server needed
recall    what the index types of Elasticsearch find, and how fast
bulk      how a worker writes, against the bare client
worker    a worker in a process of its own: its speed and its memory
served    a large gallery in Elasticsearch with the proxy before it
proxy     what the proxy costs: passing through, re-ranked searches, many callers
timing    percentiles and turns

They are run from the repository (`python -m benchmarks --help`) and are no part of the wheel.
"""
