"""Benchmarks, run from the repository: `python -m benchmarks --help`. Not in the wheel.

Results are ratios measured in one run, since machines are noisy.

local     encoding and re-ranking, without servers
recall    recall and speed of Elasticsearch's index types
bulk      writing by a worker, compared with the bare client
worker    speed and memory of a worker process
served    a large gallery in Elasticsearch behind the proxy
proxy     overhead of the proxy, re-ranked searches, many clients
timing    percentiles and alternating calls
"""
