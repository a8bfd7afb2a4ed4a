"""How studies come in: one door, and the folders, zips and archives that bring instances to it.

What belongs here: what is taken, when a study is all there, and going on after a crash. What does not: how an archive or
a node speaks (``medkit.dicom.network``), and what becomes of a study then.
"""
