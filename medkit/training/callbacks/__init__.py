"""Lightning callbacks: what a training run does besides fitting, one a file.

What belongs here: what watches, records or guards a run. What does not: the loss and the metrics
(``segmentation``), and the tracking store (``tracking``).
"""
