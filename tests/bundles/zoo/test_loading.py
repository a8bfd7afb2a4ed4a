"""Other people's bundles are loaded, or refused with what is in the way."""

from __future__ import annotations

import numpy as np
import pytest

import medkit
from medkit.errors import UsageError
from tests.bundles.zoo.comparison import dice, monai_gives
from tests.bundles.zoo.writing import (
    ABOVE_ONE,
    ARGMAX,
    BRIGHT,
    INVERT,
    LOAD,
    SAVE,
    SCALE,
    SOFTMAX,
    TO_GRID,
    config,
    metadata,
    with_checkpointloader,
    write_bundle,
)
from tests.phantoms import SHAPE, hippocampus

_, LABELS = hippocampus()


@pytest.mark.parametrize(
    "wording", [lambda parts: parts, with_checkpointloader], ids=["handlers", "initialize"]
)
def test_weights_are_loaded_though_the_author_has_the_data(tmp_path, image, wording):
    parts = wording(config([*LOAD, *TO_GRID, SCALE], [SOFTMAX, INVERT, ARGMAX, SAVE]))
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **ABOVE_ONE)
    result = medkit.load(root).predict(image)
    assert result.grid.shape == SHAPE
    assert dice(result.labels == 1, LABELS > 0) > 0.8
    assert result.label_names == {1: "bright"}
    assert not (root / "eval").exists()
    theirs = monai_gives(root, [image])
    np.testing.assert_array_equal(result.labels, theirs[0].numpy())


def test_no_weights_to_load(tmp_path):
    parts = config(LOAD, [ARGMAX])
    parts["handlers"] = []
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **BRIGHT)
    with pytest.raises(UsageError, match="neither 'checkpointloader' nor 'handlers' loads weights"):
        medkit.load(root)


def test_evaluator_of_its_own(tmp_path):
    parts = config(LOAD, [ARGMAX])
    parts["evaluator"]["_target_"] = "scripts.evaluator.Vista3dEvaluator"
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **BRIGHT)
    with pytest.raises(UsageError, match=r"SupervisedEvaluator, got an evaluator of its own"):
        medkit.load(root)


def test_bundle_for_slices(tmp_path):
    about = metadata()
    about["network_data_format"]["inputs"]["image"]["spatial_shape"] = [256, 256]
    root = write_bundle(tmp_path / "zoo", config(LOAD, [ARGMAX]), about, **BRIGHT)
    with pytest.raises(UsageError, match=r"segments 3D images.*got an image of spatial shape \[256, 256\]"):
        medkit.load(root)
