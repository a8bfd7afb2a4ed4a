"""Each series has its verdict, whatever becomes of the others."""

from __future__ import annotations

import shutil
import warnings
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest

import medkit.dicom.reading
from medkit.dicom import Limits, Repair, read
from medkit.dicom.reading import read_each
from medkit.errors import UsageError
from tests.dicom_series.stacks import Stack, save


def test_one_thread_and_several_read_the_same(stack, written, tmp_path, monkeypatch):
    counts = []

    class Counted(ThreadPoolExecutor):
        def __init__(self, count):
            counts.append(count)
            super().__init__(count)

    monkeypatch.setattr(medkit.dicom.reading, "ThreadPoolExecutor", Counted)
    monkeypatch.setattr(medkit.dicom.reading.os, "cpu_count", lambda: 3)
    folder = written(stack.datasets)
    shutil.make_archive(str(tmp_path / "study"), "zip", folder)
    (alone,) = read(folder).volumes
    monkeypatch.setattr(medkit.dicom.reading, "_SMALL_BYTES", 0)
    for source in (folder, tmp_path / "study.zip"):
        (several,) = read(source).volumes
        assert np.array_equal(alone.array, several.array)
        assert np.array_equal(alone.affine, several.affine)
    assert counts == [1, 3, 3]


def test_a_zip_a_folder_and_a_list_give_the_same(stack, written, tmp_path):
    folder = written(stack.datasets)
    shutil.make_archive(str(tmp_path / "study"), "zip", folder)
    (one,), (two,), (three,) = (
        read(source).volumes for source in (folder, tmp_path / "study.zip", sorted(folder.iterdir())[::-1])
    )
    for other in (two, three):
        assert np.array_equal(one.array, other.array)
        assert np.array_equal(one.affine, other.affine)
        assert [frame.sop_instance_uid for frame in one.frames] == [
            frame.sop_instance_uid for frame in other.frames
        ]
    assert {frame.member for frame in one.frames} == {None}
    assert {frame.member for frame in two.frames} == {f"{number:03}.dcm" for number in range(9)}


def test_frames_tell_which_slice_is_which(stack, written):
    (volume,) = read(written(stack.datasets)).volumes
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in stack.datasets}
    for number, frame in enumerate(volume.frames):
        pixels = np.frombuffer(by_uid[frame.sop_instance_uid].PixelData, "<u2").reshape(12, 14)
        assert np.array_equal(volume.array[..., number], pixels.T.astype(int) - 1024)
        assert frame.path.is_file()


def test_a_refused_series_leaves_the_others_alone(stack, written, tmp_path):
    other = Stack(stack.rng, identity=stack.identity.another_series(stack.rng))
    del other.datasets[3].ImagePositionPatient
    reading = read(written([*stack.datasets, *other.datasets]))
    assert [len(series.volumes) for series in reading.series] == [1, 0]
    assert [len(series.refusals) for series in reading.series] == [0, 1]


def test_series_of_one_number_have_names_of_their_own(stack, written):
    other = Stack(stack.rng)
    names = [volume.name for volume in read(written([*stack.datasets, *other.datasets])).volumes]
    assert names == ["003", "003_2"]


def test_names_are_safe_for_files(mr, written):
    late = Stack(mr.rng, mr.grid, modality="MR", identity=mr.identity, offset=100)
    for number, dataset in enumerate((*mr.datasets, *late.datasets)):
        dataset.AcquisitionNumber, dataset.SequenceName = 1, ("../*a b", "x/y:z")[number // 9]
    for volume in read(written([*mr.datasets, *late.datasets])).volumes:
        assert set(volume.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        assert ".." not in volume.name


def test_a_report_in_colour_leaves_the_series_readable(stack, written):
    report = deepcopy(stack.datasets[0])
    report.SOPInstanceUID, report.SamplesPerPixel, report.PhotometricInterpretation = "1.2", 3, "RGB"
    report.PlanarConfiguration, report.PixelData = 0, bytes(14 * 12 * 3 * 2)
    reading = read(written([*stack.datasets, report]))
    assert [volume.array.shape[2] for volume in reading.volumes] == [9]
    assert [refusal.code for refusal in reading.refused] == ["colour"]


def test_objects_that_are_no_images_are_noted(stack, written):
    structures = deepcopy(stack.datasets[0])
    structures.SOPClassUID, structures.Modality = "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"
    structures.SOPInstanceUID, structures.SeriesInstanceUID = "1.2", "1.2.3"
    del structures.PixelData, structures.Rows
    reading = read(written([*stack.datasets, structures]))
    assert len(reading.volumes) == 1
    assert not reading.refused
    assert [note.code for series in reading.series for note in series.notes] == ["not-an-image"]


@pytest.mark.parametrize(
    "kind", ["1.2.840.10008.5.1.4.1.1.66", "1.3.12.2.1107.5.9.1"], ids=["raw-data", "siemens-non-image"]
)
def test_raw_data_and_vendors_own_objects_are_noted(kind, stack, written):
    data = deepcopy(stack.datasets[0])
    data.SOPClassUID, data.SOPInstanceUID = kind, "1.2"
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
        del data[name]
    reading = read(written([*stack.datasets, data]))
    assert [volume.array.shape[2] for volume in reading.volumes] == [9]
    assert not reading.refused
    assert [note.code for note in reading.series[0].notes] == ["not-an-image"]


@pytest.mark.parametrize(
    "kind", ["1.2.840.10008.5.1.4.1.1.2", "1.3.46.670589.11.0.0.12.1"], ids=["ct", "private"]
)
def test_an_image_cut_short_is_no_object_of_another_kind(kind, stack, written):
    for dataset in stack.datasets:
        dataset.SOPClassUID = kind
    for name in ("PixelData", "Rows", "Columns"):
        del stack.datasets[8][name]
    reading = read(written(stack.datasets))
    assert [refusal.code for refusal in reading.refused] == ["no-pixels"]


def test_a_broken_file_beside_a_series_refuses_it_and_no_other(stack, written):
    folder = written(stack.datasets)
    other = Stack(stack.rng)
    (folder / "other").mkdir()
    for number, dataset in enumerate(other.datasets):
        save(folder / "other" / f"{number}.dcm", dataset)
    (folder / "009.dcm").write_bytes(b"")
    (folder / "notes.txt").write_text("")
    reading = read(folder)
    assert [len(series.volumes) for series in reading.series] in ([0, 1], [1, 0])
    assert sorted(refusal.code for refusal in reading.refused) == ["broken-file", "empty-file", "empty-file"]
    volumes = read(folder, repairs=[Repair.DROP_BROKEN]).volumes
    assert sorted(len(volume.repairs) for volume in volumes) == [0, 1]


def test_slices_that_cannot_be_read_are_left_out_on_request_and_named(stack, written):
    stack.datasets[8].PixelData = stack.datasets[8].PixelData[:100]
    del stack.datasets[0].ImagePositionPatient
    folder = written(stack.datasets)
    assert not read(folder).volumes
    (volume,) = read(folder, repairs=["drop-broken"]).volumes
    assert volume.array.shape[2] == 7
    assert [repair.code for repair in volume.repairs] == ["drop-broken"] * 2
    assert [name in volume.repairs[n].message for n, name in enumerate(("000.dcm", "008.dcm"))] == [
        True,
        True,
    ]


def test_a_series_of_broken_slices_alone_is_refused(stack, written):
    for dataset in stack.datasets:
        dataset.PixelData = dataset.PixelData[:100]
    (refusal,) = read(written(stack.datasets), repairs=["drop-broken"]).refused
    assert refusal.code == "broken-file"


def test_a_fault_of_ours_is_a_refusal(stack, written, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(medkit.dicom.reading, "split", fail)
    (refusal,) = read(written(stack.datasets)).refused
    assert refusal.code == "unreadable"
    assert "ZeroDivisionError: oops" in refusal.message


@pytest.mark.parametrize(("vr", "text"), [("LO", "--5"), ("LO", "\xb2"), ("UT", "9" * 5000), ("OB", b"5 ")])
def test_a_series_number_that_is_none_leaves_the_series_readable(vr, text, stack, written):
    for dataset in stack.datasets:
        dataset.add_new(0x00200011, vr, text)
        dataset.add_new(0x00200013, vr, text)
    (volume,) = read(written(stack.datasets)).volumes
    assert (volume.name, volume.facts["series_number"]) == ("series", None)


def test_a_modality_of_bytes_ends_its_series_and_no_other(stack, written):
    other = Stack(stack.rng)
    for dataset in other.datasets:
        dataset.add_new(0x00080060, "OB", b"CT")
    reading = read([written(stack.datasets), written(other.datasets, "other")])
    assert [volume.array.shape for volume in reading.volumes] == [(14, 12, 9)]
    assert {refusal.code for refusal in reading.refused} == {"bad-value"}


def test_a_zip_with_a_wrong_checksum_is_refused(stack, written, tmp_path):
    folder = written(stack.datasets)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    data = bytearray((tmp_path / "z.zip").read_bytes())
    place = data.index(stack.datasets[0].PixelData)
    data[place] ^= 1
    (tmp_path / "z.zip").write_bytes(data)
    reading = read(tmp_path / "z.zip")
    assert not reading.volumes
    assert reading.refused


def test_series_are_let_go_one_after_another(stack, written):
    folder = written([*stack.datasets, *Stack(stack.rng).datasets, *Stack(stack.rng).datasets])
    seen, alive = [], []

    def take(series):
        alive.append(sum(volume() is not None for volume in seen))
        seen.extend(weakref.ref(volume) for volume in series.volumes)
        return len(series.volumes)

    taken, refusals = read_each(folder, take)
    assert taken == (1, 1, 1)
    assert not refusals
    assert alive == [0, 0, 0]


def test_no_more_is_held_than_the_limit(stack, written):
    folder = written([*stack.datasets, *Stack(stack.rng).datasets])
    size = 14 * 12 * 9 * 2
    assert not read(folder, limits=Limits(held_bytes=2 * size)).refused
    reading = read(folder, limits=Limits(held_bytes=2 * size - 1))
    assert len(reading.volumes) == 1
    assert [refusal.code for refusal in reading.refused] == ["too-large"]


def test_the_filters_of_warnings_are_left_alone_since_all_threads_share_them(stack, written):
    taken, _ = read_each(written(stack.datasets), lambda series: list(warnings.filters))
    assert taken == (warnings.filters,)


def test_an_unknown_repair(tmp_path):
    with pytest.raises(UsageError, match=r"expected a repair of deshear, .* got 'mend'"):
        read(tmp_path, repairs=["mend"])


def test_an_empty_folder(tmp_path):
    reading = read(tmp_path)
    assert reading.series == reading.refusals == reading.volumes == ()


def test_files_without_a_series_uid_go_by_their_folder(stack, written):
    for dataset in stack.datasets:
        dataset.SeriesInstanceUID = ""
    reading = read(written(stack.datasets))
    assert [volume.array.shape[2] for volume in reading.volumes] == [9]
    assert [note.code for note in reading.series[0].notes] == ["no-series-uid"]
