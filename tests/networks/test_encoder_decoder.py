"""An encoder made a segmenter: sizes, what the decoder is given, and the stages that an encoder begins with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medkit.networks.encoder_decoder import EncoderDecoder, halve, stage_beginnings


def test_logits_on_the_grid_of_the_image_from_every_stage():
    stages = [nn.Conv3d(1, 4, 1), halve(3, 4, 6), halve(3, 6, 8)]
    network = EncoderDecoder(3, stages, (4, 6, 8), (2, 2), 2)
    seen = []
    for stage in stages:
        stage.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape[1:])))
    logits = network(torch.randn(1, 1, 8, 9, 5))
    assert logits.shape == (1, 2, 8, 9, 5)
    assert seen == [(4, 8, 12, 8), (6, 4, 6, 4), (8, 2, 3, 2)]
    logits.square().sum().backward()
    assert all(parameter.grad.any() for stage in stages for parameter in stage.parameters())


@pytest.mark.parametrize(("halvings", "expected"), [(0, [16, 20]), (2, [4, 8, 16, 20])])
def test_a_stem_doubles_channels_where_it_halves_the_size(halvings, expected):
    merged = []

    def merge(spatial_dims, before, after):
        merged.append((before, after))
        return halve(spatial_dims, before, after)

    stages, widths = stage_beginnings(2, 3, (16, 20), halvings, merge)
    assert widths == expected
    assert merged == [(16, 20)]
    x = torch.randn(1, 3, 16, 16)
    for number, (stage, width) in enumerate(zip(stages, widths, strict=True)):
        x = stage(x)
        assert x.shape == (1, width, 16 >> number, 16 >> number)
