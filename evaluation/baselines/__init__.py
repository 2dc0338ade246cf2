"""The baselines: other systems on the same feature maps, each after its paper.

systems        the table: a row per system; all of them measured on trials
maps           kept maps as these read them; maxima of any rectangle; all pooling in one pass
pooling        maps to vectors, except `r_mac`
dense          whitening, search by dot products, expansion, rankings
r_mac          R-MAC with its own re-ranking and expansion, by `localisation`
bow            SIFT words; `keypoints` are cached, and verified by RANSAC
"""
