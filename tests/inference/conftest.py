"""The tiny bundle, with tiny windows, once for all tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest

from tests.phantoms import PLAIN, hippocampus
from tests.tiny_bundle import edit_json, make_tiny_bundle


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    root = make_tiny_bundle(tmp_path_factory.mktemp("tiny"))
    edit_json(root / "configs" / "inference.json", lambda config: config.update(patch_size=[16, 16, 16]))
    return root


@pytest.fixture(scope="session")
def tiny(tiny_root):
    import medkit

    return medkit.load(tiny_root)


@pytest.fixture(scope="session")
def labels(tiny):
    """What the tiny bundle makes of the phantom on the plain grid."""
    found = tiny.predict(hippocampus(affine=PLAIN)[0], PLAIN).labels
    assert len(np.unique(found)) > 1, "a map of one value shows nothing"
    return found
