"""What is read of a study, which bundles it is given to, and what is refused before any is run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Stage, State
from medkit.batch.making import Outputs, make_study, read_study
from medkit.batch.rules import Criteria, Rule
from medkit.dicom import Limits
from medkit.dicom.confidentiality import KEY_VARIABLE, Dates
from tests.batch.making.studies import (
    PATIENT,
    RULE,
    another_series,
    check_ends,
    claimed,
    spoil,
    store,
)
from tests.dicom.writing.sources import ROOT
from tests.tiny_bundle import NAME

CT = replace(RULE, inputs={"image": Criteria(frozenset({"CT"}))})
FIRST = replace(RULE, inputs={"image": Criteria(frozenset({"MR"}), series_description=re.compile("first"))})
EACH = replace(RULE, each=True)
SECOND = Criteria(frozenset({"MR"}), series_description=re.compile("second"))
STUDY = hash_uid(f"{ROOT}.1")
UNCOUNTED = "the number of images was not checked with an archive"


def test_what_an_archive_counted_is_told_of_no_more(desk, files):
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 14})
    assert read_study(claimed(desk), desk.context).notes == ()


def test_the_report_says_once_that_nobody_counted(desk, files):
    make_study(claimed(desk, files), desk.context)
    (report,) = [path for path in desk.made() if path.name.endswith(".sr.dcm")]
    assert report.read_bytes().count(UNCOUNTED.encode()) == 1


def test_a_study_gives_its_jobs_and_volumes(desk, files):
    read = read_study(claimed(desk, files), desk.context)
    (job,) = read.jobs
    assert (job.job.bundle, list(job.volumes), read.notes) == (NAME, ["image"], (UNCOUNTED,))
    assert job.volumes["image"].name == "003"


def test_each_series_that_fits_is_taken_by_itself_where_a_rule_says_so(desk, files):
    another_series(files, "more")
    desk = desk.with_(rules=(EACH,))
    ended = make_study(claimed(desk, files), desk.context)
    assert ended.state is State.MADE
    assert sorted({one.path.split("/")[-1][:3] for one in ended.results}) == ["003", "004"]
    assert len(ended.results) == 6


def test_a_scanners_own_objects_are_neither_taken_for_a_series_nor_held_against_it(desk, files):
    for number, path in enumerate(sorted(files.iterdir())[:2], 1):
        own = dcmread(path)
        own.SOPClassUID = own.file_meta.MediaStorageSOPClassUID = (
            "1.3.12.2.1107.5.9.1"  # Siemens CSA Non-Image
        )
        own.SOPInstanceUID = own.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.77.{number}"
        if number == 1:
            own.SeriesInstanceUID, own.SeriesNumber = f"{ROOT}.2.99", 99
        for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
            del own[name]
        own.save_as(files / f"own{number}.dcm")
    read = read_study(claimed(desk, files), desk.context)
    (job,) = read.jobs
    assert (job.volumes["image"].name, job.volumes["image"].array.shape[2], read.notes) == (
        "003",
        14,
        (UNCOUNTED,),
    )


def test_two_series_for_one_input_are_refused(desk, files):
    another_series(files, "more")
    reason = "^rule 'any-mr': expected one series for 'image', got 003, 004; make the rule"
    check_ends(desk, claimed(desk, files), State.REFUSED, "rules-ambiguous", reason)


def test_a_study_that_no_rule_wants_is_skipped(desk, files):
    desk = desk.with_(rules=(CT,))
    record = check_ends(
        desk, claimed(desk, files), State.SKIPPED, "no-rule", r"'any-mr': .* \(003: modality MR, not CT\)"
    )
    assert record.attempts == 1


def test_voxels_that_no_rule_wants_are_let_go(desk, files):
    another_series(files, "more", SeriesDescription="second")
    read = read_study(claimed(desk.with_(rules=(FIRST,)), files), desk.with_(rules=(FIRST,)).context)
    assert [volume.name for job in read.jobs for volume in job.volumes.values()] == ["003"]


def test_volumes_that_are_more_than_can_be_held_are_refused(desk, files):
    another_series(files, "more")
    one = np.prod((20, 18, 14)) * 2
    desk = desk.with_(rules=(EACH,), limits=Limits(held_bytes=int(one * 1.5)))
    check_ends(desk, claimed(desk, files), State.FAILED, "too-large", "raise the limit")
    desk.clock.pass_by(4000)
    narrower = desk.with_(rules=(FIRST,))
    assert make_study(claimed(narrower), narrower.context).state is State.MADE


def test_files_are_judged_by_their_header_before_they_are_decoded(desk, files):
    desk = desk.with_(limits=Limits(frame_pixels=100))
    check_ends(
        desk, claimed(desk, files), State.FAILED, "too-large", "at most 100 pixels a frame, got 18 x 20"
    )


def test_a_file_that_is_gone_from_the_disk(desk, files):
    claim = claimed(desk, files)
    desk.spool.instances(claim.study)[0].path.unlink()
    check_ends(
        desk, claim, State.FAILED, "instances-changed", "that the study was completed with, got others"
    )


def test_an_instance_that_came_after_the_claim(desk, files):
    held = sorted(files.iterdir())[0]
    late = files.parent / "late.dcm"
    held.rename(late)
    claim = claimed(desk, files)
    late.rename(held)
    store(desk, files)
    record = check_ends(desk, claim, State.READY, "still-arriving", "instances came since")
    assert record.attempts == 0, "it is no attempt"
    assert desk.ledger.claim(Stage.MAKE) is None, "and nobody has it until it is complete"
    again = claimed(desk)
    assert again.revision == 2
    assert make_study(again, desk.context).state is State.MADE


def test_pixels_that_are_cut_short(desk, files):
    path = sorted(files.iterdir())[4]
    path.write_bytes(path.read_bytes()[:-200])
    check_ends(
        desk, claimed(desk, files), State.REFUSED, "truncated", r"^series 3: instance [0-9a-f]{12}: expected"
    )


def test_a_slice_that_is_missing(desk, files):
    by_place = sorted(files.iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2])
    by_place[5].unlink()
    check_ends(desk, claimed(desk, files), State.REFUSED, "gap", r"^series 3: .* 1 slice is missing of 14")


def test_what_stands_in_a_broken_header_is_not_quoted(desk, files):
    path = next(files.iterdir())
    raw = path.read_bytes()
    place = raw.index(b"\x28\x00\x30\x00DS")  # PixelSpacing
    length = int.from_bytes(raw[place + 6 : place + 8], "little")
    name = b"Doe^Jane".ljust(length, b" ")
    path.write_bytes(raw[: place + 8] + name + raw[place + 8 + length :])
    check_ends(desk, claimed(desk, files), State.REFUSED, "bad-value", "^series 3: refused as bad-value; ")


def test_fewer_instances_than_the_archive_has(desk, files):
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 15})
    reason = "^expected all images that the archive has, got fewer: 14 of the 15 of series 3; have the study sent again"
    record = check_ends(desk, claimed(desk), State.FAILED, "count-mismatch", reason)
    assert "inspect" not in record.reason, "it knows of no archive"


def test_a_series_that_the_archive_has_did_not_come(desk, files):
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 14, f"{ROOT}.7": 3})
    reason = f"none of the 3 of a series that did not come \\(hash {hash_uid(f'{ROOT}.7')[:12]}\\)"
    check_ends(desk, claimed(desk), State.FAILED, "count-mismatch", reason)


@pytest.mark.parametrize("each", [True, False])
def test_where_the_archive_has_more_no_series_is_left_out_for_it(desk, files, each):
    another_series(files, "more", SeriesDescription="second")
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 14, f"{ROOT}.2.4": 15, f"{ROOT}.7": 3})
    reason = "fewer: 14 of the 15 of series 4; none of the 3 of a series that did not come"
    desk = desk.with_(rules=(EACH if each else FIRST,))
    check_ends(desk, claimed(desk), State.FAILED, "count-mismatch", reason)


@pytest.mark.parametrize(
    ("counts", "which"),
    [({}, "series 3, series 4"), ({f"{ROOT}.2": 13, f"{ROOT}.2.4": 14, f"{ROOT}.8": 0}, "series 3")],
    ids=["none", "fewer"],
)
def test_what_the_archive_has_less_of_is_made_and_its_number_said_to_be_unchecked(desk, files, counts, which):
    another_series(files, "more")
    store(desk, files)
    desk.spool.expect(STUDY, counts)
    desk = desk.with_(rules=(EACH,))
    read = read_study(claimed(desk), desk.context)
    assert (len(read.jobs), read.refused) == (2, None)
    assert read.notes == (
        f"the number of images of {which} was not checked with an archive, which has fewer",
    )


def test_fewer_images_are_taken_on_request_and_the_report_says_so(desk, files):
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 15})
    desk = desk.with_(outputs=replace(desk.context.outputs, repairs=("accept-count",)))
    (note,) = read_study(claimed(desk), desk.context).notes
    assert (
        note
        == "images as the archive counts them: 14 of the 15 of series 3; taken as it is, as was asked for"
    )


def test_a_file_that_cannot_be_read_is_told_as_that_and_not_as_one_that_did_not_come(desk, files):
    path = next(files.iterdir())
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 14})
    uid = hash_uid(str(dcmread(path).SOPInstanceUID))
    (stored,) = [one.path for one in desk.spool.instances(STUDY) if one.instance == uid]
    content = b"no DICOM at all"
    stored.unlink()
    stored.with_name(f"{uid}-{hashlib.sha256(content).hexdigest()}.dcm").write_bytes(content)
    check_ends(desk, claimed(desk), State.REFUSED, "broken-file", "^series 3: refused as broken-file")


def announce(count):
    def change(image):
        image.ImagesInAcquisition = count

    return change


@pytest.mark.parametrize("other", [None, "truncated"])
def test_what_may_come_again_keeps_the_whole_study_back(desk, files, other):
    another_series(files, "more")
    for path in (files / "more").iterdir():
        spoil(path, announce(20))
    if other:
        path = min(path for path in files.iterdir() if path.is_file())
        path.write_bytes(path.read_bytes()[:-200])
    desk = desk.with_(rules=(EACH,))
    reason = r"^series 4: .*expected 20 images.*got 14"
    check_ends(desk, claimed(desk, files), State.FAILED, "count-mismatch", reason)


def test_beside_a_series_that_cannot_be_read_the_report_says_so(desk, files):
    another_series(files, "more", SeriesDescription="second")
    path = next((files / "more").iterdir())
    path.write_bytes(path.read_bytes()[:-200])
    desk = desk.with_(rules=(FIRST,))
    assert make_study(claimed(desk, files), desk.context).state is State.MADE
    (report,) = [path for path in desk.made() if path.name.endswith(".sr.dcm")]
    assert b"1 other series or file of the study could not be read (truncated)" in report.read_bytes()


def test_a_damaged_series_does_not_make_another_one_right(desk, files):
    another_series(files, "more")
    path = next((files / "more").iterdir())
    path.write_bytes(path.read_bytes()[:-200])
    check_ends(desk, claimed(desk, files), State.REFUSED, "truncated", "^series 4: .* as well as the series")
    desk = desk.with_(rules=(EACH,))
    desk.ledger.retry(STUDY, "each is taken by itself")
    ended = make_study(claimed(desk), desk.context)
    assert (ended.state, ended.code, len(ended.results)) == (State.MADE, "partly-refused", 3)


def without_a_slice(folder):
    by_place = sorted(folder.iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2])
    by_place[5].unlink()


@pytest.mark.parametrize("which", ["one", "all"])
def test_a_series_that_may_have_words_in_its_pixels_is_refused_where_results_are_nobodys(
    desk, files, monkeypatch, which
):
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    another_series(files, "more", BurnedInAnnotation="YES")
    if which == "all":
        spoil(sorted(files.glob("*.dcm"))[0], lambda image: setattr(image, "BurnedInAnnotation", "YES"))
    desk = desk.with_(rules=(EACH,), outputs=Outputs(deidentify=Dates.REMOVED))
    claim = claimed(desk, files)
    if which == "one":
        check_partly_refused(desk, claim, r"^1 of 2 series .*burned-in in series 4.*series 4: .*words in it")
    else:
        ended = make_study(claim, desk.context)
        assert (ended.state, ended.code) == (State.REFUSED, "burned-in")
        assert (
            "look at it, and where there are none, set BurnedInAnnotation to NO at the source" in ended.reason
        )
        assert "'medkit batch purge' the study and have it sent again" in ended.reason


def check_partly_refused(desk, claim, reason):
    ended = make_study(claim, desk.context)
    record = desk.ledger.study(claim.study)
    assert (ended.state, ended.code, record.state, record.code) == (State.MADE, "partly-refused") * 2
    assert record.reason == ended.reason
    assert re.search(reason, record.reason), record.reason
    assert not [word for word in PATIENT if word in repr(desk.ledger.history())]


def test_of_what_is_taken_by_itself_a_refusal_is_told_of_the_study(desk, files):
    another_series(files, "more")
    without_a_slice(files / "more")
    desk = desk.with_(rules=(EACH,))
    reason = (
        r"^1 of 2 series that rules want was refused \(gap in series 4\): series 4: .* 1 slice is missing of 14: fetch "
        r"what is missing, or ask for the repair split-gaps \(outputs.repairs, --repair\); 'medkit dicom inspect'"
    )
    check_partly_refused(desk, claimed(desk, files), reason)
    (report,) = [path for path in desk.made() if path.name.endswith(".sr.dcm")]
    said = b"1 other series or file of the study could not be read (gap): series 4"
    assert said in report.read_bytes()


def test_so_is_that_of_a_series_that_another_rule_wants_alone(desk, files):
    another_series(files, "more", SeriesDescription="second")
    without_a_slice(files / "more")
    desk = desk.with_(rules=(FIRST, replace(FIRST, name="second", inputs={"image": SECOND})))
    check_partly_refused(desk, claimed(desk, files), "^1 of 2 series .* series 4: ")


def test_what_no_rule_could_take_with_what_else_there_is_was_not_wanted(desk, files):
    another_series(files, "more", SeriesDescription="second")
    without_a_slice(files / "more")
    third = Criteria(frozenset({"MR"}), series_description=re.compile("third"))
    two = Rule("two", NAME, {"a": SECOND, "b": third})
    desk = desk.with_(rules=(FIRST, two))
    ended = make_study(claimed(desk, files), desk.context)
    assert (ended.state, ended.code, ended.reason) == (State.MADE, None, None)


def test_where_what_cannot_be_read_is_of_no_kind_that_is_wanted_a_study_is_skipped(desk, files):
    path = next(files.iterdir())
    path.write_bytes(path.read_bytes()[:-200])
    desk = desk.with_(rules=(CT,))
    check_ends(desk, claimed(desk, files), State.SKIPPED, "no-rule", "there is none")


def test_own_results_that_come_back_are_not_taken_for_images(desk, files, tmp_path):
    first = claimed(desk, files)
    assert make_study(first, desk.context).state is State.MADE
    made = [path.name for path in desk.made()]
    uids = {one.uid for one in desk.ledger.results(first.study, 1)}
    back = tmp_path / "back"
    back.mkdir()
    for path in desk.made():
        (back / path.name).write_bytes(path.read_bytes())
    again = claimed(desk, back)
    assert (again.study, again.revision) == (first.study, 2)
    ended = make_study(again, desk.context)
    assert ended.state is State.MADE
    assert {one.uid for one in ended.results} == uids
    assert len(made) == 3


def test_nothing_is_read_of_a_study_with_no_rules(desk, files):
    desk = desk.with_(rules=())
    check_ends(desk, claimed(desk, files), State.SKIPPED, "no-rule", "there are no rules")


def test_inputs_of_different_frames_of_reference(desk, files):
    another_series(files, "more", SeriesDescription="second", FrameOfReferenceUID=f"{ROOT}.9")
    rule = Rule("two", NAME, {"a": FIRST.inputs["image"], "b": SECOND})
    desk = desk.with_(rules=(rule,))
    check_ends(
        desk, claimed(desk, files), State.REFUSED, "inputs-apart", "^rule 'two': .* of one frame of reference"
    )


@pytest.fixture
def rejecting(tmp_path):
    """Write a key object selection of this title about images."""

    def write(paths, title):
        note = Dataset()
        note.file_meta = FileMetaDataset()
        note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        note.SOPClassUID, note.SOPInstanceUID = KeyObjectSelectionDocumentStorage, f"{ROOT}.8.1"
        images = [dcmread(path, stop_before_pixels=True) for path in paths]
        for name in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
            note[name] = images[0][name]
        note.SeriesInstanceUID, note.Modality, note.SeriesNumber = f"{ROOT}.8", "KO", 99
        code, study, series = Dataset(), Dataset(), Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, "DCM", "Title"
        note.ConceptNameCodeSequence = [code]
        series.SeriesInstanceUID = images[0].SeriesInstanceUID
        series.ReferencedSOPSequence = []
        for image in images:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
                image.SOPClassUID,
                image.SOPInstanceUID,
            )
            series.ReferencedSOPSequence.append(item)
        study.StudyInstanceUID, study.ReferencedSeriesSequence = images[0].StudyInstanceUID, [series]
        note.CurrentRequestedProcedureEvidenceSequence = [study]
        (tmp_path / "notes").mkdir()
        note.save_as(tmp_path / "notes" / "note.dcm", enforce_file_format=True)
        return tmp_path / "notes"

    return write


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_a_series_that_is_rejected_is_not_made(desk, files, rejecting, title):
    assert make_study(claimed(desk, files), desk.context).state is State.MADE
    store(desk, rejecting(sorted(files.iterdir()), title))
    ended = make_study(claimed(desk), desk.context)
    assert (ended.claim.revision, ended.state, ended.code) == (2, State.REFUSED, "instances-rejected")
    assert ended.reason.startswith("left out 14 instances that a rejection note takes back")


def test_another_series_is_made_without_the_one_that_is_rejected(desk, files, rejecting):
    another_series(files, "more")
    rejected = sorted(path for path in files.iterdir() if path.is_file())
    store(desk, rejecting(rejected, "113001"))
    store(desk, files)
    desk.spool.expect(STUDY, {f"{ROOT}.2": 14, f"{ROOT}.2.4": 14})
    ended = make_study(claimed(desk), desk.context)
    assert ended.state is State.MADE, "two series would be ambiguous"
    assert {path.name[:3] for path in desk.made()} == {"004"}
    (report,) = [path for path in desk.made() if path.name.endswith(".sr.dcm")]
    assert b"left out 14 instances that a rejection note takes back" in report.read_bytes()


def test_of_a_series_with_a_rejected_slice_nothing_is_guessed(desk, files, rejecting):
    by_place = sorted(files.iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2])
    store(desk, rejecting(by_place[5:6], "113001"))
    check_ends(desk, claimed(desk, files), State.REFUSED, "gap", "1 slice is missing of 14")


def test_other_selections_of_key_images_reject_nothing(desk, files, rejecting):
    store(desk, rejecting(sorted(files.iterdir()), "113000"))
    assert make_study(claimed(desk, files), desk.context).state is State.MADE


def test_own_results_that_are_rejected_change_nothing(desk, files, rejecting):
    first = make_study(claimed(desk, files), desk.context)
    made = desk.made()
    for path in made:
        (files / path.name).write_bytes(path.read_bytes())
    store(desk, files)
    store(desk, rejecting(made, "113001"))
    again = make_study(claimed(desk), desk.context)
    assert (again.claim.revision, again.state) == (2, State.MADE)
    assert {(one.uid, one.sha256) for one in again.results} == {
        (one.uid, one.sha256) for one in first.results
    }
