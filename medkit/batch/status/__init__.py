"""What a person sees of a batch: a summary, alerts, metrics, health, a page, and a check of all that is kept.

What belongs here: reading, and how what was read is told. What does not: anything that moves a study, and printing.
"""
