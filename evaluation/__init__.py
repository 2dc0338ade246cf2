"""The judge: real photos, average precision, and the systems ours is compared with.

trials             what is measured: gallery, queries, and what counts as found
photos             a folder of photos as trials
datasets           Oxford, Paris, their revisited kin, Holidays, one's own folder as trials
photo_facts        sizes and digests of photos, read once
decoding           photos as pixels, ahead of the network
encoding           every photo through the network once, its maps kept
compared           the systems ours is compared with, a package
streaming          photos that are too many for that: only vectors kept
pooling, systems   the compared global descriptors
ours, online       OfA, theme and OnA, with the product's own method and searcher
stages             first search, re-ranking, expansion: a ranking each
average_precision  a ranking judged
evaluate, tables   all of it, as rows; the rows as a table
"""
