"""Names of the labels and masks that a bundle gives."""

from __future__ import annotations

import numpy as np
import pytest

from medkit.inference.channel_names import channel_names, label_names


@pytest.mark.parametrize("channel_def", [None, {}, {"x": "a"}])
def test_channels_without_names(channel_def):
    assert channel_names({"channel_def": channel_def}) == {}
    assert channel_names({}) == {}


@pytest.mark.parametrize(
    ("channel_def", "values", "names"),
    [
        ({"0": "background", "1": "a", "2": "b"}, [0, 1], {1: "a", 2: "b"}),
        ({"0": "Background", "1": "a"}, [0, 1, 3], {1: "a", 3: "label 3"}),
        ({"1": "a", "2": "b"}, [0, 2], {1: "a", 2: "b"}),
        ({"0": "lesion"}, [0, 1], {1: "lesion"}),
        ({"0": "core", "1": "whole"}, [0, 1, 4], {1: "label 1", 4: "label 4"}),
        ({}, [0, 7], {7: "label 7"}),
        (None, [0], {}),
    ],
)
def test_names_of_a_label_map(channel_def, values, names):
    labels = np.array(values, np.uint8).reshape(-1, 1, 1)
    assert label_names({"channel_def": channel_def}, labels) == names


@pytest.mark.parametrize(
    ("channel_def", "names"),
    [
        ({"0": "core", "1": "whole", "2": "enhancing"}, {0: "core", 1: "whole", 2: "enhancing"}),
        ({"0": "background", "1": "a", "2": "b"}, {1: "a", 2: "b"}),
        ({"0": "core"}, {0: "core", 1: "channel 1", 2: "channel 2"}),
        ({}, {0: "channel 0", 1: "channel 1", 2: "channel 2"}),
    ],
)
def test_names_of_masks(channel_def, names):
    assert label_names({"channel_def": channel_def}, np.zeros((2, 2, 2, 3), np.uint8)) == names
