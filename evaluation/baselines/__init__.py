"""The baselines: other systems on the same feature maps, each after its paper.

systems        the table: a row a system; what is chosen of it
maps           maps in the forms these read; the maxima of any rectangle
pooling        how maps become vectors; `r_mac` and `razavian` have more than one
vectors        every way of pooling in one pass over the maps
dense          whitening, search by dot products, expansion, rankings
r_mac          R-MAC with its own re-ranking and expansion, by `localisation`
razavian       patches, each sought in each image
bow            SIFT words; `keypoints` are kept, and verified by RANSAC
scoring        all systems on all trials
"""
