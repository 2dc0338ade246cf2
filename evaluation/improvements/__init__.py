"""Ways to rank that go beyond the paper, measured beside the product's own.

`hand.py` is what a search holds in its hand when the first hits are matched, `rankings.py` one
function a way, `scoring.py` the table of them and the scores of a trial. A new way is a
function and a row. What won is the `default` preset (docs/adr/0014).
"""
