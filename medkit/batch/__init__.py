"""Studies in, results out, unattended for months: store, choose a bundle, make, deliver, and account for all of it.

What belongs here: what must survive a crash, and what decides which bundle a study goes to. What does not: a bundle over
one case (``inference``), DICOM objects (``dicom``), and anything that prints.
"""
