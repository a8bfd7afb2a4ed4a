"""How results go out: destinations, and the delivery of a study to all of them, exactly once, through any crash.

What belongs here: sending, reading back, comparing and withdrawing. What does not: making results, and how an archive
speaks (``medkit.dicom.network``).
"""
