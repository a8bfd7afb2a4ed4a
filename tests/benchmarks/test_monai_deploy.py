"""MONAI Deploy's operators and medkit side by side: what is compared is the same thing, and differences show."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_readers_worker import Worker
from monai_deploy import BUNDLE, OURS, THEIRS, WAYS, Study, exchanged, labels_of, segmented, with_channel_step
from monai_deploy_tables import same_table, time_table, wrong_table

from medkit.batch.making import BundleShelf
from medkit.bundle.store import find_bundle
from medkit.data.grid import Grid
from medkit.data.volume import Volume
from tests.dicom.writing.sources import geometry, rotation, write_series
from tests.phantoms import hippocampus

ROW = {
    "name": "one",
    "shape": (3, 4, 5),
    "error": {THEIRS: "", OURS: ""},
    "faults": {THEIRS: 1, OURS: 0},
    "labelled": {THEIRS: 7, OURS: 8},
    "differ": 1,
    "seconds": {
        THEIRS: {"read": 1.0, "predict": 4.0, "write": 1.0},
        OURS: {"read": 1.0, "predict": 1.0, "write": 1.0},
        "anew": {"read": 1.0, "predict": 7.0, "write": 1.0},
    },
}


@pytest.fixture(scope="module")
def study():
    """Of whole numbers that all survive a file, in a plane that is none of the body's."""
    affine = rotation() @ np.diag([-1.25, 1.0, 1.0, 1.0])
    array, _ = hippocampus((28, 32, 20), affine)
    return Study("phantom", array, affine, {})


@pytest.fixture(scope="module")
def answers(study, tmp_path_factory):
    """Of medkit, with the channel in a step of its own: for the study, and for a folder that is empty."""
    place = tmp_path_factory.mktemp("answers")
    write_series(place / "series", study.array, study.affine, order=False)
    (place / "empty").mkdir()
    copy = with_channel_step(find_bundle(BUNDLE).root, place / "copy")
    worker = Worker(OURS, sys.executable, place / "log", (WAYS, str(copy)))
    assert worker.start()["versions"].startswith("medkit-imaging ")
    yield [segmented(worker, place / name, place) for name in ("series", "empty")]
    worker.stop()


def test_the_step_of_its_own_changes_no_voxel(study, answers):
    labels = labels_of(study, answers[0]["object"])
    volume = Volume(study.array, Grid(study.array.shape, study.affine), "phantom")
    expected = BundleShelf().take(BUNDLE).predict([volume]).labels
    assert (labels > 0).any()
    np.testing.assert_array_equal(labels, expected)


def test_each_part_has_its_time(answers):
    assert answers[0]["error"] == ""
    assert set(answers[0]["seconds"]) == {"read", "predict", "write"}
    assert min(answers[0]["seconds"].values()) > 0


def test_what_cannot_be_segmented_is_told(answers):
    assert answers[1]["error"]
    assert (answers[1]["object"], answers[1]["seconds"]) == (None, {})


def test_an_sdk_that_is_not_there_says_so(tmp_path):
    worker = Worker(THEIRS, sys.executable, tmp_path / "log", (WAYS, str(tmp_path)))
    assert "monai.deploy" in worker.start()["missing"]
    worker.stop()


def test_spacings_are_exchanged_and_nothing_else():
    _, affine = geometry("PSR", oblique=True)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    other = exchanged(affine)
    np.testing.assert_allclose(np.linalg.norm(other[:3, :3], axis=0), lengths[[1, 0, 2]])
    np.testing.assert_allclose(other[:3, :2] / lengths[[1, 0]], affine[:3, :2] / lengths[:2])
    np.testing.assert_array_equal(other[:, 2:], affine[:, 2:])
    np.testing.assert_allclose(exchanged(other), affine)


def test_labels_that_differ_stand_in_the_table():
    failed = ROW | {"error": {THEIRS: "ValueError: no", OURS: ""}, "faults": {THEIRS: None, OURS: 0}}
    failed = {key: value for key, value in failed.items() if key != "differ"} | {"labelled": {OURS: 8}}
    *_, first, second = same_table([ROW, failed], THEIRS, OURS).splitlines()
    assert first == "| one | 3x4x5 | 7 | 8 | 1 | 1 | 0 |"
    assert second == "| one | 3x4x5 | ValueError: no | 8 | - | - | 0 |"


def test_ratio_is_of_the_whole():
    *_, line = time_table([ROW], THEIRS, OURS).splitlines()
    assert line == "| one | 1.00 / 1.00 | 4.00 / 1.00 | 1.00 / 1.00 | 6.00 / 3.00 | 2.00 | 9.00 |"
    failed = ROW | {"seconds": ROW["seconds"] | {THEIRS: {}}}
    assert len(time_table([failed], THEIRS, OURS).splitlines()) == 2


def test_faults_are_counted_by_their_kind():
    verdicts = {
        "a": {"outcome": "wrong", "reason": "volume 1 of 1, 9x9x9: place: a corner is far"},
        "b": {"outcome": "wrong", "reason": "volume 1 of 2, 9x9x9: place: a corner is near"},
        "c": {"outcome": "wrong", "reason": "1 volume(s) of what cannot be read rightly"},
        "d": {"outcome": "right", "reason": ""},
    }
    lines = wrong_table(verdicts).splitlines()
    assert lines[2:] == ["| place | 2 | a, b |", "| of what cannot be read rightly | 1 | c |"]
    assert wrong_table({"d": verdicts["d"]}) == "Nothing."


def test_the_page_is_that_of_the_script():
    page = Path(WAYS).with_name("monai_deploy.md").read_text(encoding="utf-8")
    assert "`benchmarks/monai_deploy.py`" in page
    assert f"| {OURS} |" in page
