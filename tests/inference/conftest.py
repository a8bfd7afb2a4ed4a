"""The tiny bundle as it is loaded, once for all tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest

from tests.phantoms import PLAIN, hippocampus


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
