"""The judge: real photos, average precision, and the baselines ours is compared with.

trials             what is measured: gallery, queries, and what counts as found
datasets           Oxford, Paris, their revisited kin, Holidays, one's own folder as trials
encoding           every photo through the network once, its maps kept
streaming          photos that are too many for that: only vectors kept
searching          the stages, and the product's searcher going through them
ours, online       OfA, theme and OnA, with the product's own method
baselines          the systems ours is compared with, a row each
average_precision  a ranking judged
scores             a query's score, and the rows made of many
runs, tables       all of it, as rows; the rows as a table
significance       whether one system is better than another, or was lucky
knobs, ablation    settings varied one at a time; `recommending` says what to make of it
paper              the paper's tables (paper.json), and the same rows measured
report, plots      a run as one page
through            a server's answers beside those of Python
"""
