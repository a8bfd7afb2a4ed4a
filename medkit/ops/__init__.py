"""Numeric primitives: a slow reference beside each fast path, importable with nothing but PyTorch.

What belongs here: operations on tensors that PyTorch lacks or is slow at, with their kernels. What does not:
layers and networks (``networks``), and anything that reads a file.
"""
