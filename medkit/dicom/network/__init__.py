"""Archives and nodes: what travels over a network, and whether what came back is what was sent.

What belongs here: DIMSE and DICOMweb, one file a protocol or role, and the comparison of objects. What does not: what
becomes of a study (``medkit.batch``), and the making of results (``medkit.dicom.writing``).
"""
