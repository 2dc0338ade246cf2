"""Datasets, each from the files its authors ship, as trials.

catalogue    every dataset by its name, what it needs, and the distractors added to it
files        images with their sizes, CSV files, what is said where a file is missing
facts        sizes and digests of photos, read once
photos       a folder of photos in halves, with boxes and junk
buildings    Oxford5k and Paris6k: text files of good, ok and junk
revisited    ROxford5k and RParis6k: easy, medium, hard; `pickles` reads their ground truth
holidays     INRIA Holidays: names say it all
"""
