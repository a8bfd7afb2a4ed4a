"""Transforms that MONAI lacks: arrays on one grid in, arrays on another out.

What belongs here: MONAI transforms and the arithmetic on voxels behind them. What does not: reading and writing
(``data``), and running a network (``inference``).
"""
