"""Evaluation: average precision on images with known answers, and baselines to compare with.

trials             what is measured: gallery, queries, and what counts as found
datasets           Oxford, Paris, their revisited versions, Holidays, your own folder
encoding           every image through the network once, its maps kept
streaming          images that are too many for that: only vectors kept
searching          the stages, and the product's searcher run at each of them
ours               OfA, theme and OnA, with the product's own method
baselines          the systems ours is compared with, a row each
scores             average precision of a query, and the rows computed from many
runs, tables       the whole run; its rows as a table
significance       whether the difference of two systems may be chance
knobs, ablation    settings varied one at a time; `recommending` sums up the result
paper              the paper's tables (paper.json), and the same rows measured
report, plots      a run as an HTML page
through            a server's answers compared with those of Python
"""
