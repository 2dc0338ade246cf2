"""Datasets, each from the files its authors ship, as trials.

catalogue    every dataset by its name, and what it needs
requests     what is asked of a reader, and what is said where a file is missing
pictures     the picture files of a folder, with their sizes
buildings    Oxford5k and Paris6k: text files of good, ok and junk
revisited    ROxford5k and RParis6k: easy, medium, hard
rows         the rows of a CSV file
pickles      their ground truth, read without trusting it
holidays     INRIA Holidays: names say it all
folders      a folder of one's own: a subfolder an instance, or a CSV
distractors  pictures of other things, added to any gallery
"""
