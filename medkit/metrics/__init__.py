"""Scores that compare a result with a reference, and the statistics over them.

What belongs here: arrays and numbers in, numbers out. What does not: files, figures and tables.
"""
