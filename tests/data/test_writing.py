from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medkit.data import read_volume, write_labels, write_volume
from medkit.data.grid import Grid
from medkit.data.palette import label_colours
from medkit.data.writing import replace_files, replacing, write_channels, write_text
from medkit.errors import UsageError
from tests.phantoms import NAMES, OBLIQUE, SHAPE, hippocampus
from tests.traced_memory import peak_bytes

IMAGE, LABELS = hippocampus()
GRID = Grid(SHAPE, OBLIQUE)
TYPES = ["?", *("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"), ">i2", ">f4"]
SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha"]
STRANGE_NAMES = {1: 'Amygdala & <"left">', 2: "Gyrus fusiformis – 梭状回 ü", 3: "it's ]]>"}


def nibabel_places(path):
    image = nib.load(path)
    return nib.affines.apply_affine(image.affine, np.argwhere(np.asanyarray(image.dataobj) == 1))


def itk_places(path):
    image = sitk.ReadImage(path)
    index = np.argwhere(sitk.GetArrayFromImage(image) == 1)[:, ::-1]
    lps = [image.TransformIndexToPhysicalPoint(place.tolist()) for place in index]
    return np.array(lps) * [-1, -1, 1]


def in_order(places):
    return places[np.lexsort(places.round(3).T)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_lie_where_they_were_painted_for_every_reader(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_labels(path, LABELS, GRID, NAMES)
    painted = in_order(nib.affines.apply_affine(OBLIQUE, np.argwhere(LABELS == 1)))
    assert len(painted) > 20
    np.testing.assert_allclose(in_order(itk_places(path)), painted, atol=1e-4)
    if suffix.startswith(".nii"):
        np.testing.assert_allclose(in_order(nibabel_places(path)), painted, atol=1e-4)
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, LABELS)
    np.testing.assert_allclose(back.grid.affine, OBLIQUE, atol=2e-5)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (300, "u2"), (65535, "u2"), (65536, "u4")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_smallest_type_that_holds_the_labels(tmp_path, suffix, highest, dtype):
    labels = np.zeros(SHAPE, np.float32)
    labels[0, 0, 0] = highest
    write_labels(tmp_path / f"a{suffix}", labels, GRID, {})
    back = read_volume(tmp_path / f"a{suffix}").array
    assert back.dtype == np.dtype(dtype)
    assert back.max() == highest


def test_a_name_counts_as_a_label_that_could_occur(tmp_path):
    write_labels(tmp_path / "a.nii", LABELS, GRID, {300: "Rare"})
    assert nib.load(tmp_path / "a.nii").get_data_dtype() == np.uint16


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_carries_a_table_of_names(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_labels(path, LABELS, GRID, {0: "background", **STRANGE_NAMES})
    header = nib.load(path).header
    assert header.get_intent() == ("label", (), "Labels")
    assert header.get_slope_inter() == (None, None)
    (extension,) = header.extensions
    assert extension.get_code() == 30
    root = ElementTree.fromstring(extension.content.decode().rstrip("\0"))
    rows = root.findall("VolumeInformation/LabelTable/Label")
    assert {int(row.get("Key")): row.text for row in rows} == {0: "background", **STRANGE_NAMES}
    assert root.find("VolumeInformation/VolumeType").text == "Label"
    assert [row.get("Alpha") for row in rows] == ["0", "1", "1", "1"]
    colours = {int(row.get("Key")): [float(row.get(c)) for c in ("Red", "Green", "Blue")] for row in rows}
    expected = {0: (0, 0, 0), **label_colours(STRANGE_NAMES)}
    assert colours == {value: pytest.approx(colour, abs=1e-4) for value, colour in expected.items()}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_formats_carry_names_as_entries(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_labels(path, LABELS, GRID, STRANGE_NAMES)
    # Looked for in the file: MetaIO writes names whole, but its own reader stops at some letters.
    is_ = ":=" if suffix == ".nrrd" else " = "
    for value, name in STRANGE_NAMES.items():
        assert f"\nlabel_{value}{is_}{name}\n".encode() in path.read_bytes()
    np.testing.assert_array_equal(read_volume(path).array, LABELS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_labels_make_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        write_labels(tmp_path / f"{name}{suffix}", LABELS, GRID, NAMES)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [0, 2])
def test_images_lose_no_value(tmp_path, suffix, dtype, channels):
    array = (IMAGE // 7 if dtype != "?" else IMAGE > 500).astype(dtype)
    array = np.stack([array, array[::-1]], -1) if channels else array
    path = tmp_path / f"a{suffix}"
    write_volume(path, array, GRID)
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, array)
    np.testing.assert_allclose(back.grid.affine, OBLIQUE, atol=2e-5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_label_maps_are_compressed(tmp_path, suffix):
    write_labels(tmp_path / f"a{suffix}", np.zeros((40, 40, 40)), Grid((40, 40, 40), OBLIQUE), NAMES)
    assert (tmp_path / f"a{suffix}").stat().st_size < 40**3 / 10


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_masks_may_overlap_in_channels(tmp_path, suffix):
    masks = np.stack([LABELS > 0, LABELS > 1], -1)
    write_labels(tmp_path / f"a{suffix}", masks, GRID, {})
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array, masks)


def labels_with(value):
    labels = LABELS.astype(np.float32)
    labels[1, 2, 3] = value
    return labels


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (LABELS[1:], NAMES, r"expected an array of shape \(13, 11, 9\).*got \(12, 11, 9\)"),
        (LABELS[0], NAMES, "expected an array of shape"),
        (LABELS.astype(np.int16) - 1, NAMES, "got values from -1 to 1"),
        (labels_with(0.5), NAMES, "got fractions"),
        (labels_with(np.nan), NAMES, "got values from nan"),
        (labels_with(np.inf), NAMES, "to inf"),
        (labels_with(2.0**33), NAMES, "to 8.59e"),
        (LABELS, {-1: "x"}, r"from 0 to 2\^32 - 1, got -1"),
        (LABELS, {2**32: "x"}, r"from 0 to 2\^32 - 1, got 4294967296"),
        (LABELS, {1: "a\nb"}, "printable name"),
        (LABELS, {1: "a\x00"}, "printable name"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_what_is_no_label_map_is_not_written(tmp_path, labels, names, message, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(UsageError, match=f"{path}.*{message}") as caught:
        write_labels(path, labels, GRID, names)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a", "a.hdr", "a.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"expected a name ending in \.nii"):
        write_volume(tmp_path / name, IMAGE, GRID)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    write_text(target, "old")

    def interrupted():
        with replacing(target) as temporary:
            temporary.write_text("half")
            assert temporary.parent == target.parent
            assert temporary.name.startswith(".")
            assert temporary.name.endswith("a.txt")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "a.txt", "Größe 梭")
    assert (tmp_path / "a.txt").read_bytes() == "Größe 梭".encode()


def test_nrrd_of_channels_comes_back_to_the_last_digit(tmp_path):
    write_labels(tmp_path / "a.nrrd", LABELS, GRID, NAMES)
    grid = read_volume(tmp_path / "a.nrrd").grid
    write_volume(tmp_path / "b.nrrd", np.stack([IMAGE, IMAGE], -1), grid)
    assert read_volume(tmp_path / "b.nrrd").grid == grid


def test_sheared_grids_come_back(tmp_path):
    shear = np.eye(4)
    shear[0, 1] = 0.4
    for suffix in SUFFIXES:
        write_labels(tmp_path / f"a{suffix}", LABELS, Grid(SHAPE, OBLIQUE @ shear), NAMES)
        np.testing.assert_allclose(
            read_volume(tmp_path / f"a{suffix}").grid.affine, OBLIQUE @ shear, atol=2e-5
        )


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path, monkeypatch):
    def full(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(tmp_path / "a.json", "{}")
    assert caught.value.filename == str(tmp_path / "a.json")


def test_classes_are_written_one_after_the_other(tmp_path):
    """Writing many takes no more memory than writing a few."""
    grid, peaks = Grid((40, 40, 40), np.eye(4)), []
    for number in (2, 4, 12):
        classes = np.random.default_rng(0).random((number, 40, 40, 40), dtype=np.float32)
        soft = np.moveaxis(classes, 0, -1)
        peaks.append(peak_bytes(lambda soft=soft: write_volume(tmp_path / "soft.nii.gz", soft, grid)))
    assert peaks[2] - peaks[1] < classes[0].nbytes, "the first is not counted: it imports"
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "soft.nii.gz").dataobj)[..., 3], classes[3])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("size_known", [True, False])
def test_channels_one_by_one_make_the_file_of_the_whole(tmp_path, suffix, size_known):
    whole = np.random.default_rng(0).random((*SHAPE, 5), np.float32)
    grid = Grid(SHAPE, OBLIQUE, size_known=size_known)
    write_volume(tmp_path / f"whole{suffix}", whole, grid)
    write_channels(tmp_path / f"parts{suffix}", np.moveaxis(whole, -1, 0), 5, grid)
    parts, expected = nib.load(tmp_path / f"parts{suffix}"), nib.load(tmp_path / f"whole{suffix}")
    np.testing.assert_array_equal(parts.get_fdata(dtype=np.float32), whole)
    assert parts.header.binaryblock == expected.header.binaryblock
    assert parts.header.extensions == expected.header.extensions
    if suffix == ".nii":
        assert (tmp_path / "parts.nii").read_bytes() == (tmp_path / "whole.nii").read_bytes()


def test_channels_one_by_one_are_not_held_together(tmp_path):
    shape, count = (40, 40, 40), 20
    grid, one = Grid(shape, OBLIQUE), 40**3 * 4
    channels = (np.full(shape, number, np.float32) for number in range(count))
    assert peak_bytes(lambda: write_channels(tmp_path / "a.nii", channels, count, grid)) < 4 * one
    assert nib.load(tmp_path / "a.nii").get_fdata()[0, 0, 0].tolist() == list(range(count))


def test_channels_that_are_not_what_was_said_leave_no_file(tmp_path):
    grid, channel = Grid(SHAPE, OBLIQUE), np.zeros(SHAPE, np.float32)
    with pytest.raises(UsageError, match="expected 3 channels, got 2"):
        write_channels(tmp_path / "a.nii", [channel] * 2, 3, grid)
    with pytest.raises(UsageError, match="expected an array of shape"):
        write_channels(tmp_path / "a.nii", [channel, channel[1:]], 2, grid)
    with pytest.raises(UsageError, match=r"expected a name ending in .nii or .nii.gz for channels"):
        write_channels(tmp_path / "a.mha", [channel], 1, grid)
    assert not list(tmp_path.iterdir())


def test_files_that_belong_together_are_replaced_together(tmp_path):
    one, two, gone = (tmp_path / name for name in ("one", "sub/two", "gone"))
    gone.touch()
    replace_files({one: b"1", two: b"2", gone: None})
    assert (one.read_bytes(), two.read_bytes(), gone.exists()) == (b"1", b"2", False)
    gone.touch()
    with pytest.raises(OSError, match="one"):
        replace_files({one: b"new", two: b"new", one / "three": b"3", gone: None})
    assert (one.read_bytes(), two.read_bytes(), gone.exists()) == (b"1", b"2", True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["gone", "one", "sub", "two"]
