"""Real series of many vendors, against readers that are right on them."""

from __future__ import annotations

import gzip
import subprocess

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.dicom import read

PROSTATE = "prostatex_0000/07-07-2011"
LOSSLESS = (
    "Explicit",
    "Implicit",
    "BigEndian",
    "Deflated",
    "RLE",
    "JPEGLSLossless",
    "JPEG2000LosslessOnly",
    "Process14",
)
ODD = "dicom2nifti_odd"


@pytest.fixture(scope="session")
def real_dicom(real_data):
    return real_data / "dicom"


def canonical(array, affine):
    image = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(array, dtype=np.float64), affine))
    return image.get_fdata(), image.affine


def check_same(volume, array, affine, atol=0.0):
    """The same values at the same places, however the axes run."""
    (one, place), (other, elsewhere) = canonical(volume.array, volume.affine), canonical(array, affine)
    np.testing.assert_allclose(place, elsewhere, atol=1e-3)
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=atol)


def by_itk(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3] = np.c_[direction * image.GetSpacing(), image.GetOrigin()]
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine


def by_dcm2niix(program, folder, output):
    """The volumes that dcm2niix gives, with the standard's scaling (-p n)."""
    output.mkdir()
    command = [program, "-b", "n", "-z", "n", "-p", "n", "-o", str(output), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    for path in sorted(output.glob("*.nii")):
        image = nib.load(path)
        data = image.get_fdata()
        for number in range(data.shape[3] if data.ndim == 4 else 1):
            yield (data[..., number] if data.ndim == 4 else data), image.affine


@pytest.mark.parametrize("number", [3, 4, 5, 7, 8, 9])
def test_a_prostate_against_simpleitk(number, real_dicom):
    (folder,) = (real_dicom / PROSTATE).glob(f"{number}.*")
    (volume,) = read(folder).volumes
    check_same(volume, *by_itk(folder))


def test_b_values_that_stand_in_private_elements(real_dicom, tool, tmp_path):
    (folder,) = (real_dicom / PROSTATE).glob("6.*")
    volumes = read(folder).volumes
    assert [volume.facts["keys"] for volume in volumes] == [
        {"b-value": "50"},
        {"b-value": "400"},
        {"b-value": "800"},
    ]
    for volume, (array, affine) in zip(
        volumes, by_dcm2niix(tool("dcm2niix"), folder, tmp_path / "out"), strict=True
    ):
        check_same(volume, array, affine)


def test_a_missing_slice(real_dicom):
    reading = read(real_dicom / "prostatex_0000_missing_slice")
    assert not reading.volumes
    assert [refusal.code for refusal in reading.refused] == ["gap"]
    assert "1 slice is missing of 19" in reading.refused[0].message
    volumes = read(real_dicom / "prostatex_0000_missing_slice", repairs=["split-gaps"]).volumes
    assert sum(volume.array.shape[2] for volume in volumes) == 18


@pytest.mark.parametrize("number", [1, 2, 3])
def test_hippocampi_against_simpleitk(number, real_dicom):
    folder = real_dicom / f"hippocrop_study{number}"
    (volume,) = read(folder).volumes
    check_same(volume, *by_itk(folder))


def test_a_ct_in_jpeg_2000_whose_uids_are_gone(real_dicom):
    folder = real_dicom / "totalseg_ct_j2k"
    (series,) = read(folder).series
    assert [note.code for note in series.notes] == ["no-series-uid"]
    (volume,) = series.volumes
    files = sorted(folder.glob("CT.*"), key=lambda path: sitk.ReadImage(str(path)).GetOrigin()[2])
    expected = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0].T for path in files], axis=-1)
    assert np.array_equal(volume.array, expected)
    assert volume.array.min() == -1024


def test_one_slice_in_every_lossless_syntax(real_dicom):
    folder = real_dicom / "cornerstone_ct_transfer_syntaxes"
    (native,) = read(folder / "CTImage.dcm").volumes
    paths = [path for path in folder.glob("CTImage.dcm_*") if any(name in path.name for name in LOSSLESS)]
    assert len(paths) == 9
    for path in paths:
        (volume,) = read(path).volumes
        assert np.array_equal(volume.array, native.array), path.name
        assert np.array_equal(volume.affine, native.affine), path.name
        assert "lossy" not in [note.code for note in volume.notes]


@pytest.mark.parametrize("name", ["JPEGLSLossy", "JPEG2000TransferSyntax", "JPEGProcess1T"])
def test_a_slice_with_loss_is_as_simpleitk_has_it_and_noted(name, real_dicom):
    (path,) = (real_dicom / "cornerstone_ct_transfer_syntaxes").glob(f"CTImage.dcm_{name}*")
    (volume,) = read(path).volumes
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0].T
    np.testing.assert_allclose(volume.array[..., 0], expected, atol=1e-3)
    assert "lossy" in [note.code for note in volume.notes]


@pytest.mark.parametrize("name", ["JPEGProcess2_4", "JPEGProcess6_8", "JPEGProcess10_12"])
def test_a_slice_of_twelve_bits_with_loss_is_as_dcmtk_has_it_and_noted(name, real_dicom, tool, tmp_path):
    (path,) = (real_dicom / "cornerstone_ct_transfer_syntaxes").glob(f"CTImage.dcm_{name}*")
    (volume,) = read(path).volumes
    subprocess.run([tool("dcmdjpeg"), path, tmp_path / "native.dcm"], check=True)
    (expected,) = read(tmp_path / "native.dcm").volumes
    assert np.array_equal(volume.array, expected.array)
    assert np.ptp(volume.array) > 4000
    assert "lossy" in [note.code for note in volume.notes]


def test_an_enhanced_series_against_dcm2niix(real_dicom, tool, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    packed = (real_dicom / "canon_enhanced_multiframe" / "10000.dcm.gz").read_bytes()
    (folder / "a.dcm").write_bytes(gzip.decompress(packed))
    volumes = read(folder).volumes
    assert len(volumes) == 13
    assert [volume.facts["keys"]["b-value"] for volume in volumes] == ["0", *["1500"] * 12]
    for volume, (array, affine) in zip(
        volumes, by_dcm2niix(tool("dcm2niix"), folder, tmp_path / "out"), strict=True
    ):
        check_same(volume, array, affine)


@pytest.mark.parametrize(
    "name",
    [
        "ge/anatomical/001",
        "hitachi/anatomical/001",
        "hyperfine/anatomical/001",
        "siemens_multiframe/anatomical/001",
    ],
)
def test_vendors_against_dcm2niix(name, real_dicom, tool, tmp_path):
    folder = real_dicom / ODD / name
    (volume,) = read(folder).volumes
    ((array, affine),) = by_dcm2niix(tool("dcm2niix"), folder, tmp_path / "out")
    check_same(volume, array, affine)


@pytest.mark.parametrize("name", ["fmri/001", "fmri/001_implicit", "dti/001"])
def test_philips_against_dcm2niix(name, real_dicom, tool, tmp_path):
    folder = real_dicom / ODD / "philips_enhanced" / name
    volumes = read(folder).volumes
    others = list(by_dcm2niix(tool("dcm2niix"), folder, tmp_path / "out"))
    assert len(volumes) == len(others) == 4
    assert all("philips-scale" in [note.code for note in volume.notes] for volume in volumes)
    for array, affine in others:  # in another order of directions
        data, _ = canonical(array, affine)
        (match,) = [
            volume
            for volume in volumes
            if np.allclose(canonical(volume.array, volume.affine)[0], data, atol=1e-2)
        ]
        check_same(match, array, affine, atol=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        *("anatomical/001", "anatomical/002_non_isotropic", "compressed/001", "compressed_j2k/001"),
        *("compressed_jpeg/001", "compressed_jpegls/001", "compressed_rle/001"),
    ],
)
def test_generic_series_against_their_truth(name, real_dicom):
    folder = real_dicom / ODD / "generic" / name
    (volume,) = read(folder).volumes
    truth = nib.load(f"{folder}_ground_truth.nii.gz")
    check_same(volume, truth.get_fdata(), truth.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("sliceincrement/001", ["gap"]),
        ("sliceincrement/002", ["gap"]),
        ("notavolume/001", ["no-geometry"]),
        ("gantrytilting/001", []),
        ("sliceorientation/001", []),
    ],
)
def test_odd_series(name, codes, real_dicom):
    reading = read(real_dicom / ODD / "failing" / name)
    assert [refusal.code for refusal in reading.refused] == codes
    if name.startswith("gantry"):
        assert "tilt" in [note.code for note in reading.volumes[0].notes]
    if name.startswith("sliceorientation"):
        assert [volume.facts["keys"]["plane"] for volume in reading.volumes] == ["sagittal", "axial"]


def test_colour_and_reports_are_told_from_images(real_dicom):
    folder = real_dicom / "cornerstone_ct_transfer_syntaxes"
    assert [refusal.code for refusal in read(folder / "US-YBR_FULL_422-EVRLE.dcm").refused] == ["colour"]
    (series,) = read(folder / "no-pixel-data.dcm").series
    assert [note.code for note in series.notes] == ["not-an-image"]


def test_a_missing_slice_is_put_back_between_those_that_are_there(real_dicom):
    (whole,) = read(real_dicom / PROSTATE, picks={"series": "8"}).volumes
    (mended,) = read(real_dicom / "prostatex_0000_missing_slice", repairs=["resample"]).volumes
    assert mended.array.shape == whole.array.shape
    np.testing.assert_allclose(mended.affine, whole.affine, atol=1e-4)
    other = (mended.array != whole.array).any((0, 1))
    assert other.sum() == 1
    beside = np.flatnonzero(other)[0] + np.array([-1, 1])
    np.testing.assert_allclose(mended.array[..., other][..., 0], whole.array[..., beside].mean(-1), atol=0.5)
