"""Every kind is made, the same way each time, and is what its truth says where a foreign reader can tell."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from tests.dicom_series import KINDS, Outcome, judge, make
from tests.dicom_series.grids import RAS_FROM_LPS
from tests.dicom_series.kinds import SUBJECTS

REPAIRS = {
    *("accept-count", "deshear", "drop-broken", "drop-duplicates", "drop-localizer", "drop-stray"),
    *("resample", "sign-of-stream", "split-frames", "split-gaps"),
}
# SimpleITK is right about these, so the generator is.
PLAIN = (
    *("axial", "axial-down", "axial-oblique", "coronal", "coronal-oblique", "sagittal", "sagittal-oblique"),
    *("far-oblique", "feet-first", "one-slice", "two-slices", "tall", "instance-numbers-shuffled"),
    *("slice-location-lies", "signed-16", "unsigned-8", "slope-odd", "pet-slope-per-slice", "big-endian"),
    *("implicit-vr", "deflated", "rle", "jpeg-lossless-signed", "jpeg-ls", "jpeg-2000", "high-bits-garbage"),
    *("icon", "two-series", "ct-and-pet", "private-blobs", "enhanced-ct", "enhanced-oblique"),
)
# It is silently wrong about these.
WRONG = ("tilt", "gap-one", "phases-interleaved", "b-values", "files-twice", "monochrome1", "modality-lut")


def by_simpleitk(folder):
    volumes = []
    for series in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
        image = sitk.ReadImage(names if len(names) > 1 else names[0])
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        volumes.append((sitk.GetArrayFromImage(image).T, RAS_FROM_LPS @ affine))
    return volumes


@pytest.fixture(autouse=True)
def quiet():
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    yield
    sitk.ProcessObject.SetGlobalWarningDisplay(before)


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_foreign_reader_is_right_about_what_is_plain(kind, seed, tmp_path):
    verdict = judge(make(kind, tmp_path, seed), by_simpleitk(tmp_path))
    assert verdict.outcome == Outcome.RIGHT, verdict.reason


@pytest.mark.parametrize("kind", WRONG)
def test_a_foreign_reader_is_caught(kind, tmp_path):
    verdict = judge(make(kind, tmp_path), by_simpleitk(tmp_path))
    assert verdict.outcome == Outcome.WRONG


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_made_and_its_truth_can_be_told_from_a_constant(kind, tmp_path):
    truth = make(kind, tmp_path)
    assert contents(tmp_path)
    assert truth.readable == bool(truth.volumes)
    for answer in truth.answers(repaired=True, told=True):
        for volume in answer:
            assert min(volume.shape) > 0
            assert np.linalg.det(volume.affine) != 0
            assert np.ptp(values(volume)) > 10 * volume.tolerance


@pytest.mark.parametrize("group", SUBJECTS)
def test_a_kind_is_made_the_same_twice(group, tmp_path):
    kind = next(kind for kind in KINDS.values() if kind.group == group)
    for name in ("one", "two"):
        make(kind.name, tmp_path / name)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in contents(tmp_path / name)}
        for name in ("one", "two")
    )
    assert one == two


def contents(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def values(volume):
    index = np.moveaxis(np.indices(volume.shape), 0, -1)
    return volume.values(index @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def test_seeds_change_the_numbers(tmp_path):
    one, two = (make("axial", tmp_path / str(seed), seed).volumes[0] for seed in (1, 2))
    assert not np.allclose(one.affine, two.affine)


def test_every_kind_says_what_it_is():
    abouts = [kind.about for kind in KINDS.values()]
    assert len(set(abouts)) == len(abouts)
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.group in SUBJECTS
        assert set(kind.repairs) <= REPAIRS
    assert {kind.group for kind in KINDS.values()} == set(SUBJECTS)
    assert KINDS["b-values"].group == "diffusion"  # though it is built as mixtures are


def test_what_a_repair_is_for_has_an_answer(tmp_path):
    for name, kind in KINDS.items():
        truth = make(name, tmp_path / name) if kind.repairs else None
        assert truth is None or truth.answers(repaired=True, told=True), (
            f"{name} asks for a repair and has no answer"
        )


def test_files_say_nothing_in_their_order(tmp_path):
    make("axial", tmp_path)
    positions = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in sorted(tmp_path.iterdir())]
    assert positions != sorted(positions)
    assert positions != sorted(positions, reverse=True)
