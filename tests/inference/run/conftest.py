"""Three images, and a way to run a bundle over them."""

from __future__ import annotations

import pytest

from medkit.data import find_cases
from medkit.inference.run import RunOptions, predict_cases
from tests.phantoms import write_hippocampus


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for number, name in enumerate("abc"):
        write_hippocampus(tmp_path / "images" / f"{name}.nii.gz", seed=number)
    return tmp_path / "images"


@pytest.fixture
def segment(tiny, images, tmp_path):
    """Run the images, or others, into one folder, without pictures; return case to status."""

    def run(*inputs, bundle=tiny, pictures=False, **options):
        cases = find_cases(inputs or [images])
        outcomes = predict_cases(bundle, cases, tmp_path / "out", RunOptions(pictures=pictures, **options))
        assert [outcome.case for outcome in outcomes] == cases
        return {outcome.case.name: outcome.status for outcome in outcomes}

    return run
