"""Several inputs become the channels of one image, in the order of the bundle."""

from __future__ import annotations

import re

import numpy as np
import pytest

from medkit.batch.ledger import State
from medkit.batch.making import BundleSettings, BundleShelf, make_study, predict_study, read_study
from medkit.batch.rules import Criteria, Rule
from tests.batch.making.studies import OBLIQUE, SHAPE, another_series, claimed, open_desk, write_study

GLIOMA = "glioma_segmentation_agunet"
SERIES = {"flair": "003", "t1-after-contrast-agent": "004", "t1-before-contrast-agent": "005"}


def rule(**inputs):
    wanted = {
        name: Criteria(frozenset({"MR"}), series_description=re.compile(f"^{description}$"))
        for name, description in inputs.items()
    }
    return Rule("tumour", GLIOMA, wanted)


@pytest.fixture(scope="session")
def glioma():
    return BundleShelf({GLIOMA: BundleSettings(accept_licence=True)})


@pytest.fixture
def files(tmp_path):
    """Three contrasts of one examination, whose numbers say nothing of the channels."""
    folder = write_study(tmp_path / "files", SeriesDescription="flair")
    another_series(folder, "b", 4, seed=1, SeriesDescription="after")
    return another_series(folder, "c", 5, seed=2, SeriesDescription="before")


CONTRASTS = rule(
    **{"t1-after-contrast-agent": "after", "flair": "flair", "t1-before-contrast-agent": "before"}
)


def test_channels_are_in_the_order_of_the_bundle(tmp_path, glioma, files):
    desk = open_desk(tmp_path / "desk", glioma, rules=(CONTRASTS,))
    read = read_study(claimed(desk, files), desk.context)
    (job,) = predict_study(read, desk.context).jobs
    volumes = read.jobs[0].volumes
    assert {name: volume.name for name, volume in volumes.items()} == SERIES
    image = job.result.volume.array
    assert image.shape == (*SHAPE, 3)
    for channel, name in enumerate(["flair", "t1-before-contrast-agent", "t1-after-contrast-agent"]):
        assert np.array_equal(image[..., channel], volumes[name].array)
    assert job.source is volumes["flair"]
    assert job.channels == ("005", "004")


def test_a_study_of_several_contrasts_is_made(tmp_path, glioma, files):
    desk = open_desk(tmp_path / "desk", glioma, rules=(CONTRASTS,))
    ended = make_study(claimed(desk, files), desk.context)
    assert (ended.state, len(ended.results)) == (State.MADE, 3)


def test_contrasts_on_different_grids_are_refused(tmp_path, glioma):
    folder = write_study(tmp_path / "files", SeriesDescription="flair")
    moved = OBLIQUE.copy()
    moved[:3, 3] += 1.5
    another_series(folder, "b", 4, affine=moved, SeriesDescription="after")
    another_series(folder, "c", 5, SeriesDescription="before")
    desk = open_desk(tmp_path / "desk", glioma, rules=(CONTRASTS,))
    ended = make_study(claimed(desk, folder), desk.context)
    assert (ended.state, ended.code) == (State.REFUSED, "channels-on-different-grids")
    assert ended.reason.startswith("series 004: expected one channel on the grid of series 003")
    assert desk.made() == []


def test_inputs_that_are_not_the_bundles_are_refused(tmp_path, glioma, files):
    desk = open_desk(tmp_path / "desk", glioma, rules=(rule(flair="flair", t1ce="after"),))
    ended = make_study(claimed(desk, files), desk.context)
    assert (ended.state, ended.code) == (State.FAILED, "wrong-configuration")
    assert ended.reason.startswith(f"rules: expected the inputs of {GLIOMA}")


def test_a_bundle_whose_terms_were_not_accepted_is_refused(tmp_path, files):
    desk = open_desk(tmp_path / "desk", BundleShelf(), rules=(CONTRASTS,))
    ended = make_study(claimed(desk, files), desk.context)
    assert (ended.state, ended.code) == (State.FAILED, "wrong-configuration")
    assert "accept" in ended.reason
