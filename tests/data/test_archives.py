"""Cases that numpy packed: channels by name, and a voxel size that stays unknown all the way."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from medkit.data import as_volume, read_volume, write_labels, write_volume
from medkit.data.archives import LABEL_ARRAY, read_archive
from medkit.data.grid import SIDE_UNKNOWN_NOTE, SIZE_UNKNOWN_NOTE, Grid
from medkit.data.monai_io import VolumeReader
from medkit.data.peek import peek_channels
from medkit.data.reading import read_channels
from medkit.errors import CaseError, UsageError
from tests.phantoms import write_glioma

SHAPE = (6, 20, 16)
CHANNELS = ("flair", "pre", "post")


@pytest.fixture
def packed(tmp_path):
    return tmp_path / "case.npz", write_glioma(tmp_path / "case.npz", SHAPE)


def test_channels_come_in_the_order_of_their_names(packed):
    path, arrays = packed
    volume = read_volume(path, CHANNELS)
    assert volume.array.dtype == np.uint8
    for channel, name in enumerate(CHANNELS):
        np.testing.assert_array_equal(volume.array[..., channel], arrays[name].transpose(2, 1, 0))


def test_by_default_all_but_the_mask_are_channels(packed):
    path, arrays = packed
    volume = read_volume(path)
    assert volume.array.shape == (16, 20, 6, 3)
    np.testing.assert_array_equal(volume.array[..., 0], arrays["pre"].transpose(2, 1, 0))


def test_one_array_has_no_axis_of_channels(packed):
    path, arrays = packed
    np.testing.assert_array_equal(read_volume(path, [LABEL_ARRAY]).array, arrays["mask"].transpose(2, 1, 0))


def test_slices_go_up_rows_back_and_columns_left(packed):
    path, arrays = packed
    grid = read_volume(path, ["mask"]).grid
    first, step = grid.affine @ (0, 0, 0, 1), grid.affine @ (1, 1, 1, 1)
    assert grid.shape == arrays["mask"].shape[::-1]
    np.testing.assert_array_equal(np.sign(step - first), [-1, -1, 1, 0])


def test_nothing_is_measured_where_the_size_is_unknown(packed):
    volume = read_volume(packed[0])
    assert not volume.grid.size_known
    assert not volume.grid.side_known
    assert volume.grid.spacing_mm is None
    assert volume.grid.voxel_volume_ml is None
    assert volume.notes[0] == SIZE_UNKNOWN_NOTE
    assert "side is unknown" in volume.notes[1]


def test_a_header_is_enough_for_a_look(packed):
    path, _ = packed
    for arrays in ((), CHANNELS, ["mask"]):
        volume, (grid, channels) = read_volume(path, arrays), peek_channels([path], arrays)
        assert grid == volume.grid
        assert channels == (volume.array.shape[3] if volume.array.ndim == 4 else 1)
    assert peek_channels([path], ["t2"]) is None


def test_the_unknown_size_survives_a_label_map_on_disk(packed, tmp_path):
    volume = read_volume(packed[0], ["mask"])
    write_labels(tmp_path / "labels.nii.gz", volume.array, volume.grid, {0: "background", 1: "tumour"})
    back = read_volume(tmp_path / "labels.nii.gz")
    assert not back.grid.size_known
    assert not back.grid.side_known
    assert back.notes == (SIZE_UNKNOWN_NOTE, SIDE_UNKNOWN_NOTE)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_array_equal(back.grid.affine, volume.grid.affine)
    write_volume(tmp_path / "again.nii", back.array, back.grid)
    assert not read_volume(tmp_path / "again.nii").grid.size_known


def test_the_file_says_to_other_programs_that_no_unit_is_stated(packed, tmp_path):
    volume = read_volume(packed[0], ["mask"])
    write_labels(tmp_path / "labels.nii.gz", volume.array, volume.grid, {1: "tumour"})
    import nibabel as nib

    header = nib.load(tmp_path / "labels.nii.gz").header
    assert header.get_xyzt_units()[0] == "unknown"
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 2)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_formats_that_cannot_say_so_are_refused(packed, tmp_path, suffix):
    volume = read_volume(packed[0], ["mask"])
    with pytest.raises(UsageError, match=r"expected a name ending in \.nii or \.nii\.gz"):
        write_labels(tmp_path / f"labels{suffix}", volume.array, volume.grid, {1: "tumour"})
    assert not (tmp_path / f"labels{suffix}").exists()


def test_the_unknown_size_survives_json_and_monai(packed):
    from monai.transforms import LoadImage

    volume = read_volume(packed[0], CHANNELS)
    assert Grid.from_json(volume.grid.to_json()) == volume.grid
    tensor = LoadImage(VolumeReader(CHANNELS), ensure_channel_first=True)(packed[0])
    assert tensor.shape == (3, 16, 20, 6)
    again = as_volume(tensor)
    assert not again.grid.size_known
    assert not again.grid.side_known
    assert again.notes == (SIZE_UNKNOWN_NOTE, SIDE_UNKNOWN_NOTE)
    np.testing.assert_array_equal(as_volume(packed[0], arrays=CHANNELS).array, again.array)


def test_other_files_stay_known(packed, tmp_path):
    array = packed[1]["mask"]
    write_volume(tmp_path / "a.nii", array, Grid(array.shape, np.diag([2.0, 1, 1, 1])))
    known = read_volume(tmp_path / "a.nii", CHANNELS).grid
    assert known.size_known
    assert known.spacing_mm == (2.0, 1.0, 1.0)
    assert known.voxel_volume_ml == pytest.approx(0.002)


def test_one_file_a_channel(packed, tmp_path):
    for name, array in packed[1].items():
        np.savez(tmp_path / f"{name}_alone.npz", image=array)
    volume = read_channels([tmp_path / f"{name}_alone.npz" for name in CHANNELS])
    np.testing.assert_array_equal(volume.array, read_volume(packed[0], CHANNELS).array)
    assert not volume.grid.size_known


def test_real_patients(real_data):
    paths = sorted((real_data / "glioma_multicontrast").glob("*.npz"))
    assert len(paths) == 12
    for path in paths:
        image, mask = read_volume(path, CHANNELS), read_volume(path, [LABEL_ARRAY])
        assert image.array.shape == (256, 256, mask.array.shape[2], 3)
        assert 20 <= image.array.shape[2] <= 42
        assert np.unique(mask.array).tolist() == [0, 1]
        assert not image.grid.size_known


def refused(path, arrays=()) -> CaseError:
    with pytest.raises(CaseError) as caught:
        read_volume(path, arrays)
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_array_that_is_not_there_is_named_with_those_that_are(packed):
    error = refused(packed[0], ["flair", "t2"])
    assert error.code == "array-missing"
    assert "without t2, which holds pre, flair, post, mask" in str(error)


def test_a_mask_alone_is_no_image(tmp_path):
    np.savez(tmp_path / "a.npz", mask=np.zeros(SHAPE, np.uint8))
    assert refused(tmp_path / "a.npz").code == "array-missing"


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"a": np.zeros((4, 5, 6)), "b": np.zeros((4, 5, 7))}, "channels-on-different-grids"),
        ({"a": np.zeros((5, 6))}, "not-3d"),
        ({"a": np.zeros((1, 5, 6))}, "not-3d"),
        ({"a": np.zeros((0, 5, 6))}, "empty-volume"),
        ({"a": np.full((4, 5, 6), np.nan)}, "voxels-not-finite"),
        ({"a": np.zeros((4, 5, 6), complex)}, "voxels-not-numeric"),
        ({"a": np.array([[["x", None]] * 2] * 2, object)}, "file-unreadable"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, arrays, code):
    np.savez(tmp_path / "a.npz", **arrays)
    assert refused(tmp_path / "a.npz").code == code


def test_a_damaged_file_is_refused(packed, tmp_path):
    whole = packed[0].read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no archive")
    middle = len(whole) // 4
    (tmp_path / "flipped.npz").write_bytes(
        whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    )
    for name in ("cut", "text", "flipped"):
        assert refused(tmp_path / f"{name}.npz").code == "file-unreadable"
        assert name == "flipped" or peek_channels([tmp_path / f"{name}.npz"]) is None


def test_a_wrong_checksum_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, image=np.arange(120, dtype=np.uint8).reshape(4, 5, 6))
    content = bytearray(path.read_bytes())
    content[content.index(bytes(range(100, 120)))] ^= 1
    path.write_bytes(content)
    assert refused(path).code == "file-unreadable"


def test_a_header_that_claims_more_than_the_file_holds_is_refused_before_memory_is_asked_for(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**5, 10**5, 10**5)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("image.npy", header.getvalue())
    assert refused(tmp_path / "a.npz").code == "file-truncated"
    with pytest.raises(CaseError, match="expected 1000000000000000 bytes"):
        read_archive(tmp_path / "a.npz")
