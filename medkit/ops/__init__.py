"""Numeric primitives: a slow reference beside each fast path, importable with nothing but PyTorch.

- :func:`medkit.ops.selective_scan.selective_scan`, and ``selective_scan_fn`` in place of that of ``mamba-ssm``;
- :func:`medkit.ops.raster_scan.bidirectional_scan` of images and volumes;
- :func:`medkit.ops.depthwise_conv.depthwise_conv` and ``causal_conv1d``;
- :func:`medkit.ops.haar.haar_dwt` and ``haar_idwt``;
- :func:`medkit.ops.interpolated_argmax.interpolated_argmax`, labels between planes of scores;
- :func:`medkit.ops.group_norm.group_norm` of channels-last images on a CPU.

What belongs here: operations on tensors that PyTorch lacks or is slow at, with their kernels. What does not:
layers and networks (``networks``), and anything that reads a file.
"""
