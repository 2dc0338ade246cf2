"""The judge: real photos, average precision, and the systems ours is compared with.

trials             what is measured: gallery, queries, and what counts as found
photos             a folder of photos as trials
datasets           Oxford, Paris, their revisited kin, Holidays, one's own folder as trials
photo_facts        sizes and digests of photos, read once
decoding           photos as pixels, ahead of the network
encoding           every photo through the network once, its maps kept
compared           the systems ours is compared with, a package
streaming          photos that are too many for that: only vectors kept
left_out           systems that a run does not measure, and why
own_vectors        class vectors of photos, made once for all that needs them
prepared           a trial made ready for our own systems
ours, online       OfA, theme and OnA, with the product's own method and searcher
streamed           OfA among photos of which only vectors are kept
stages             first search, re-ranking, expansion: a ranking each
average_precision  a ranking judged
scores             a query's score, and the rows made of many
evaluate, tables   all of it, as rows; the rows as a table
significance       whether one system is better than another, or was lucky
systems_named      a system at a stage, as people name it
knobs, setups      settings that can be varied; many measured together
ablation           one varied at a time; recommending says what to make of it
paper_tables       what was published, and the settings of each row (data/paper.json)
reproducing        the same rows measured
plots              drawings for the report
"""
