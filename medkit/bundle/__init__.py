"""Bundles: compile them from `configs/`, find, load, check, and take trained weights into them.

What belongs here: everything about a bundle as a set of files. What does not: running one over cases
(``inference``) or training one (``training``).
"""
