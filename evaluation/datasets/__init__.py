"""Datasets as trials, read from the files their authors publish.

catalogue    every dataset by name, what it is fitted on, and its distractors
files        images with their sizes, CSV files, and errors about missing files
facts        sizes and digests of images, read once
photos       your own images: photos.csv, or a folder of instances
buildings    Oxford5k and Paris6k: text files of good, ok and junk
revisited    ROxford5k and RParis6k: easy, medium, hard; `pickles` reads their ground truth
holidays     INRIA Holidays, by the names of its images
"""
