"""A bundle over cases: load it, predict, save, report, evaluate.

What belongs here: what happens between an image and its results on disk. What does not: studies, queues and
archives (``batch``), and anything that prints.
"""
