"""The systems ours is compared with, on the same feature maps, each after its paper.

systems                 the table: a row a system; what is chosen of it
pooling, r_mac          how maps become vectors
layer_maps, maxima      maps in the forms these read; the maxima of any rectangle
vectors                 every way of pooling in one pass over the maps
dense                   whitening, search by dot products, expansion
r_mac_search            R-MAC's own re-ranking and expansion, by `localisation`
razavian                patches, each sought in each picture
bow                     SIFT words; `sift` keeps the keypoints, `verification` is RANSAC
rankings, scoring       answers judged; all systems on all trials
"""
