"""What is written of a study, and what happens where it cannot be."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from pydicom import dcmread

from medkit.batch.ledger import Stage, State
from medkit.batch.making import Outputs, make_study, predict_study, read_study, writing
from medkit.batch.making.writing import write_objects
from medkit.dicom.confidentiality import KEY_VARIABLE, Dates
from medkit.dicom.findings import Finding
from medkit.dicom.writing.results import ResultKind
from medkit.dicom.writing.segmentation import SegmentationType
from tests.batch.making.studies import OBLIQUE, PATIENT, POLICY, another_series, claimed, store, write_study


def predicted(desk, study):
    return predict_study(read_study(claimed(desk, study), desk.context), desk.context)


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (["seg"], ["003.seg.dcm"]),
        (["sr"], ["003.seg.dcm", "003.sr.dcm"]),
        (["sc"], ["003.sc.dcm"]),
    ],
)
def test_the_kinds_that_are_asked_for(desk, study, kinds, names):
    desk = desk.with_(outputs=Outputs(kinds=[ResultKind(kind) for kind in kinds]))
    assert make_study(claimed(desk, study), desk.context).state is State.MADE
    assert [path.name for path in desk.made()] == names


def test_label_maps_where_they_are_asked_for(desk, study):
    outputs = Outputs(kinds=[ResultKind.SEGMENTATION], segmentation_type=SegmentationType.LABELMAP)
    desk = desk.with_(outputs=outputs)
    make_study(claimed(desk, study), desk.context)
    assert dcmread(desk.made()[0]).SegmentationType == "LABELMAP"


def test_results_about_nobody_where_they_are_asked_for(desk, files, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    named = Finding("side-by-side", "slices of filter=Doe Jane and filter=X lie side by side")
    study = predicted(desk.with_(outputs=Outputs(deidentify=Dates.REMOVED)), files)
    (job,) = study.jobs
    source = replace(job.source, notes=(named,))
    job = replace(job, source=source, notes=("labels touch the edge",), channels=("004_kernel-ROE",))
    recipes = set()
    for place, key, dates in (
        ("identified", "", None),
        ("first", "sixteen bytes or", Dates.REMOVED),
        ("second", "another key, 16+", Dates.REMOVED),
        ("third", "another key, 16+", Dates.SHIFTED),
    ):
        monkeypatch.setenv(KEY_VARIABLE, key)
        folder = desk.folder / place
        recipes.add(write_objects([job], folder, Outputs(deidentify=dates), ()).recipe)
        made = b"".join(path.read_bytes() for path in folder.rglob("*.dcm"))
        told = [*PATIENT, "filter=", "kernel-ROE"]
        assert [text for text in told if text.encode() in made] == (told if dates is None else [])
        assert b"labels touch the edge" in made
        assert b"side-by-side" in made or dates is None
        assert b"its other channels are of " in made
    assert len(recipes) == 4


def test_without_a_key_nobodys_results_are_not_made(desk, study, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    desk = desk.with_(outputs=Outputs(deidentify=Dates.REMOVED))
    ended = make_study(claimed(desk, study), desk.context)
    assert (ended.state, ended.code) == (State.FAILED, "wrong-configuration")
    assert desk.made() == []


@pytest.mark.parametrize(
    ("number", "state", "code"),
    [(errno.ENOSPC, State.READY, "disk-full"), (errno.EIO, State.FAILED, "disk-error")],
)
@pytest.mark.parametrize("place", ["write_results", "content_hash", "instance_uid"])
def test_a_disk_that_takes_no_more(desk, study, monkeypatch, number, state, code, place):
    def full(*given, **options):
        raise OSError(number, "so says the disk")

    with monkeypatch.context() as patched:
        patched.setattr(writing, place, full)
        ended = make_study(claimed(desk, study), desk.context)
    assert (ended.state, ended.code) == (state, code)
    assert desk.made() == []
    desk.clock.pass_by(1000)
    assert make_study(claimed(desk), desk.context).state is State.MADE


def test_a_lease_that_ends_while_results_are_written(desk, study, monkeypatch):
    claim = claimed(desk, study)
    real = writing.content_hash

    def slow(path):
        desk.clock.pass_by(POLICY.lease_seconds)
        return real(path)

    monkeypatch.setattr(writing, "content_hash", slow)
    ended = make_study(claim, desk.context)
    assert (ended.state, ended.code) == (None, "lease-lost")
    assert desk.made() == []


def test_a_source_that_changed_while_it_was_predicted(desk, study):
    found = predicted(desk, study)
    path = desk.spool.instances(found.claim.study)[0].path
    path.write_bytes(b"another file")
    with pytest.raises(Exception, match="read the series again") as error:
        writing.write_study(found, desk.context)
    assert error.value.code == "source-changed"
    assert desk.made() == []


def test_slices_of_a_tilted_gantry_are_refused_unless_they_are_allowed(desk, tmp_path):
    tilted = OBLIQUE.copy()
    tilted[:3, 2] += 0.3 * OBLIQUE[:3, 1]
    files = write_study(tmp_path / "tilted", affine=tilted)
    ended = make_study(claimed(desk, files), desk.context)
    assert (ended.state, ended.code) == (State.REFUSED, "source-sheared")
    assert "(UID)" in ended.reason
    desk.ledger.retry(ended.claim.study, "allowed")
    desk = desk.with_(outputs=Outputs(allow_sheared=True))
    assert make_study(claimed(desk), desk.context).state is State.MADE


def test_what_was_withdrawn_is_made_again_under_other_uids(desk, study, tmp_path):
    first = make_study(claimed(desk, study), desk.context)
    ledger, uids = desk.ledger, {one.uid for one in first.results}
    sent = ledger.claim(Stage.DELIVER)
    for one in first.results:
        ledger.sending(sent, one.uid, one.destination)
    store(desk, another_series(tmp_path, "more", 9, Modality="OT"))
    desk.clock.pass_by(POLICY.lease_seconds)  # for as long the first worker may be sending
    ledger.refuse(claimed(desk), "mistake", "of a person's")
    (gone, *_) = sorted(uids)
    ledger.withdrawing(sent.study, gone, "archive")  # one is enough: they refer to each other
    ledger.retry(sent.study, "mended")
    again = make_study(claimed(desk), desk.context)
    assert again.state is State.MADE
    found = {one.uid for one in again.results}
    assert (len(found), found & uids) == (3, set())
    assert len(desk.made()) == 6

    store(desk, another_series(tmp_path, "even more", 10, Modality="OT"))
    last = make_study(claimed(desk), desk.context)
    assert {one.uid for one in last.results} == found, "not withdrawn: it is the same again"


def test_a_later_revision_makes_its_own_and_leaves_the_earlier_one(desk, study, tmp_path):
    first = make_study(claimed(desk, study), desk.context)
    before = desk.made()
    store(desk, another_series(tmp_path, "more", 9, Modality="OT"))
    ended = make_study(again := claimed(desk), desk.context)
    assert (again.study, again.revision, ended.state) == (first.claim.study, 2, State.MADE)
    assert {one.uid for one in ended.results} == {one.uid for one in first.results}
    assert set(desk.made()) == {*before, *(desk.context.results / one.path for one in ended.results)}
    assert len(desk.made()) == 6
