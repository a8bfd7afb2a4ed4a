"""Haar wavelet transform of images and volumes, one level, orthonormal.

What belongs here: the two operators, their reference and their kernels. What does not: wavelets of other families.
"""

from medkit.ops.haar.op import haar_dwt, haar_idwt

__all__ = ["haar_dwt", "haar_idwt"]
