"""The judge: real photos, average precision, and the systems ours is compared with.

trials             what is measured: gallery, queries, and what counts as found
photos             a folder of photos as trials
encoding           every photo through the network once, its maps kept
compared           the systems ours is compared with, a package
ours, online       OfA, theme and OnA, with the product's own method and searcher
stages             first search, re-ranking, expansion: a ranking each
average_precision  a ranking judged
evaluate, tables   all of it, as rows; the rows as a table
"""
