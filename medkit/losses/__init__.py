"""Loss functions that MONAI lacks, or that it has in another form.

What belongs here: functions of network outputs and references, one a file. What does not: scores of whole
cases (``metrics``), and anything that knows of Lightning (``training``).
"""
