"""Code of a bundle's own, and the old wordings of configs."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest

import medkit
from medkit.errors import CaseError, UsageError
from tests.bundles.zoo.comparison import dice
from tests.bundles.zoo.writing import (
    ABOVE_ONE,
    ARGMAX,
    LOAD,
    SCALE,
    SOFTMAX,
    config,
    metadata,
    write_bundle,
)
from tests.phantoms import hippocampus

IMAGE, LABELS = hippocampus()
TRANSFORM = """
from monai.transforms import MapTransform
from scripts.helper import LIMIT

class MyTransform(MapTransform):
    def __call__(self, data):
        from scripts.helper import LIMIT as again  # as some do
        assert again == LIMIT
        return {**data, **{key: (data[key] > LIMIT).to(data[key]) for key in self.keys}}
"""


def scripted(root, limit):
    mine = {"_target_": "scripts.mytransform.MyTransform", "keys": "image"}
    parts = config([*LOAD, mine], [ARGMAX])
    parts["imports"].append("$import scripts")
    files = {"__init__": "", "mytransform": TRANSFORM, "helper": f"LIMIT = {limit}"}
    weights = {"weight": [[0.0], [1.0]], "bias": [0.0, -0.5]}
    return write_bundle(root, parts, metadata(), scripts=files, **weights)


def test_two_bundles_with_scripts_of_one_name(tmp_path, image):
    low = medkit.load(scripted(tmp_path / "low", 550))
    high = medkit.load(scripted(tmp_path / "high", 700))
    before = list(sys.path), {name for name in sys.modules if name.split(".")[0] == "scripts"}
    for bundle, limit in ((low, 550), (high, 700), (low, 550)):
        np.testing.assert_array_equal(bundle.predict(image).labels, limit < IMAGE)
    assert (list(sys.path), {name for name in sys.modules if name.split(".")[0] == "scripts"}) == before
    assert before[1] == set()


def test_error_in_the_bundles_own_code_is_one_line(tmp_path, image):
    root = scripted(tmp_path / "broken", 550)
    (root / "scripts" / "mytransform.py").write_text(
        TRANSFORM.replace("again == LIMIT", "False, 'my\\nfault'")
    )
    with pytest.raises(CaseError) as caught:
        medkit.load(root).predict(image)
    assert str(caught.value) == f"{image}: preprocessing failed: AssertionError: my"


def test_missing_script(tmp_path):
    root = scripted(tmp_path / "broken", 550)
    shutil.rmtree(root / "scripts")
    with pytest.raises(UsageError, match=r"'preprocessing' cannot be built.*scripts.mytransform.MyTransform"):
        medkit.load(root)


def test_old_separators_and_imports(tmp_path, image):
    parts = config([*LOAD, {**SCALE, "a_max": "@displayable_configs#limits#high"}], [SOFTMAX, ARGMAX])
    parts["displayable_configs"] = {"limits": {"high": 550}, "windows": "$math.prod([2, 16])"}
    parts["imports"].append("$import math")
    parts["inferer"]["roi_size"] = ["@displayable_configs#windows"] * 3
    root = write_bundle(tmp_path / "zoo", parts, metadata(), **ABOVE_ONE)
    bundle = medkit.load(root)
    assert bundle.inferer.roi_size == [32, 32, 32]
    assert dice(bundle.predict(image).labels == 1, LABELS > 0) > 0.9
    changed = medkit.load(root, overrides={"displayable_configs::limits::high": 5000})
    assert not changed.predict(image).labels.any()
