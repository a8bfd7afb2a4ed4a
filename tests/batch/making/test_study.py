"""A study becomes what ``medkit predict`` and ``medkit dicom write`` make of it, whole, once, or not at all."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from medkit.batch.ledger import State
from medkit.batch.making import (
    READ,
    BundleShelf,
    KnownBundle,
    attempt,
    finish,
    make_study,
    predict_study,
    read_study,
)
from medkit.batch.making import write_study as write_objects
from medkit.data.cases import find_cases
from medkit.data.reading import read_volume
from medkit.dicom import convert
from medkit.dicom.network.content import content_hash
from medkit.dicom.objects import read_uids
from medkit.inference.dicom_results import DicomOptions, write_dicom
from medkit.inference.run import RunOptions, predict_cases
from tests.batch.making.studies import (
    OBLIQUE,
    PATIENT,
    RULE,
    claimed,
    open_desk,
    shelf_of,
    store,
    write_study,
)
from tests.dicom.writing import oracles
from tests.dicom.writing.sources import write_series

REAL = "hippocampus_segmentation_unet"


def by_hand(desk, folder):
    """What the commands make of the stored files: the label map, and its objects."""
    (files,) = (desk.spool.folder / "studies").iterdir()
    bundle = desk.context.shelf.take(desk.context.rules[0].bundle).bundle
    convert(files, folder / "nifti")
    predict_cases(bundle, find_cases([folder / "nifti"]), folder / "results", RunOptions(pictures=False))
    (labels,) = (folder / "results" / "labels").iterdir()
    written = write_dicom(labels, files, bundle.folder.root, folder / "objects", DicomOptions())
    return read_volume(labels), {path.name: path for path in written.values()}


def check_same_as_by_hand(desk, files, folder):
    counts = Counter(read_uids(path).series for path in files.rglob("*") if path.is_file())
    desk.spool.expect(store(desk, files), counts)  # or the report says that nobody counted
    ended = make_study(claimed(desk), desk.context)
    assert (ended.state, ended.reason) == (State.MADE, None)
    labels, objects = by_hand(desk, folder)
    made = {path.name: path for path in desk.made()}
    assert sorted(made) == ["003.sc.dcm", "003.seg.dcm", "003.sr.dcm"]
    for name, path in objects.items():
        assert made[name].read_bytes() == path.read_bytes(), name
    decoded, affine = oracles.by_highdicom(made["003.seg.dcm"])
    values = [0, *(segment.SegmentNumber for segment in dcmread(made["003.seg.dcm"]).SegmentSequence)]
    assert len(np.unique(labels.array)) > 1, "an empty map shows nothing"
    for value in values[1:]:
        seen = oracles.seen_on(labels.grid.affine, labels.array.shape, decoded == value, affine)
        assert np.array_equal(seen, labels.array == value)
    return ended


def test_a_study_becomes_what_the_commands_make_of_it(desk, study, tmp_path):
    check_same_as_by_hand(desk, study, tmp_path)


def test_the_ledger_has_what_was_made(desk, study):
    desk = desk.with_(destinations=("archive", "folder"))
    ended = make_study(claim := claimed(desk, study), desk.context)
    record = desk.ledger.study(claim.study)
    assert (record.state, record.attempts) == (State.MADE, 0)
    assert len(record.recipe) == 64
    maker = KnownBundle.of(desk.context.shelf.take(RULE.bundle).maker)
    assert ended.makers == (maker,)
    assert record.reason == f"made by {RULE.bundle} {maker.version} ({maker.digest[:12]})"
    assert desk.ledger.made_by(f"{RULE.bundle} {maker.version}") == [desk.ledger.history(claim.study)[-1]]
    assert desk.ledger.made_by("another") == []
    results = desk.ledger.results(claim.study, claim.revision)
    assert sorted(results, key=repr) == sorted(ended.results, key=repr)
    assert {one.destination for one in results} == {"archive", "folder"}
    assert len(results) == 6
    for one in results:
        path = desk.context.results / one.path
        assert dcmread(path).SOPInstanceUID == one.uid
        assert content_hash(path) == one.sha256
    assert desk.made() == sorted({desk.context.results / one.path for one in results})
    assert {name: timing.count for name, timing in desk.ledger.timings().items()} == {
        "predict": 1,
        "read": 1,
        "write": 1,
    }


def test_the_same_study_gives_the_same_objects(desk, study, tmp_path, tiny_root):
    first = make_study(claimed(desk, study), desk.context)
    other = open_desk(tmp_path / "other", shelf_of(tiny_root))
    again = make_study(claimed(other, study), other.context)
    assert [(one.uid, one.sha256, one.path) for one in again.results] == [
        (one.uid, one.sha256, one.path) for one in first.results
    ]
    assert [path.read_bytes() for path in other.made()] == [path.read_bytes() for path in desk.made()]
    recipes = {one.ledger.studies()[0].recipe for one in (desk, other)}
    assert len(recipes) == 1


def test_other_settings_give_other_objects_and_another_recipe(desk, study, tmp_path, tiny_root):
    first = make_study(claimed(desk, study), desk.context)
    overrides = {"clean_up::largest_component": True}
    other = open_desk(tmp_path / "other", shelf_of(tiny_root, overrides=overrides))
    again = make_study(claimed(other, study), other.context)
    assert again.state is State.MADE
    assert not {one.uid for one in first.results} & {one.uid for one in again.results}
    assert len({one.ledger.studies()[0].recipe for one in (desk, other)}) == 2


def test_nothing_of_the_patient_is_in_the_names_or_in_the_ledger(desk, study):
    make_study(claimed(desk, study), desk.context)
    kept = "".join(str(path.relative_to(desk.folder)) for path in desk.folder.rglob("*"))
    kept += repr(desk.ledger.history()) + repr(desk.ledger.studies())
    assert desk.made()
    assert not [word for word in PATIENT if word in kept]


def test_stages_of_several_studies_overlap(desk, tmp_path):
    folders = []
    for number in range(4):
        uids = {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1"}
        folders.append(write_study(tmp_path / f"study{number}", seed=number, **uids))
    apart = {}
    for number, folder in enumerate(folders):
        alone = open_desk(tmp_path / f"alone{number}", desk.context.shelf)
        ended = make_study(claimed(alone, folder), alone.context)
        apart[ended.claim.study] = {(one.uid, one.sha256) for one in ended.results}
    for folder in folders:
        store(desk, folder)
    claims = [claimed(desk) for _ in folders]
    context = desk.context
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as segmenter, ThreadPoolExecutor(1) as writer:
        for claim in claims:
            read = reader.submit(attempt, claim, desk.ledger, READ, partial(read_study, claim, context))
            predicted = segmenter.submit(lambda read=read: predict_study(read.result(), context))
            writer.submit(lambda found=predicted: finish(write_objects(found.result(), context), context))
    made = {
        claim.study: {(one.uid, one.sha256) for one in desk.ledger.results(claim.study, 1)}
        for claim in claims
    }
    assert made == apart
    assert desk.ledger.counts()[State.MADE] == 4


def test_a_bundle_of_medkits_own(tmp_path, study):
    desk = open_desk(tmp_path / "desk", BundleShelf(), rules=(replace(RULE, bundle=REAL),))
    check_same_as_by_hand(desk, study, tmp_path)


@pytest.mark.parametrize("name", [REAL, "hippocampus_segmentation_mamba"])
def test_a_real_image(tmp_path, real_data, name):
    image = nib.load(next(iter(sorted((real_data / "hippocampus" / "images").glob("*.nii.gz")))))
    voxels = np.asarray(image.dataobj)
    array = np.rint(voxels / voxels.max() * 4000).astype(np.int16)
    write_series(tmp_path / "series", array, OBLIQUE, order=False)
    desk = open_desk(tmp_path / "desk", BundleShelf(), rules=(replace(RULE, bundle=name),))
    check_same_as_by_hand(desk, tmp_path / "series", tmp_path)
