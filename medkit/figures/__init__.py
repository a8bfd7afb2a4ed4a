"""Pictures of images, label maps and curves, one kind a file, each written whole or not at all.

What belongs here: arrays and numbers in, a picture out. What does not: scores (``metrics``) and pages
of several pictures (``report``).
"""
