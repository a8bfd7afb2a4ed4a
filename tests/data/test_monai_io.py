"""The reader and the writer inside MONAI's own transforms."""

from __future__ import annotations

import functools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, LoadImage, LoadImaged, SaveImage

from medkit.data import LabelWriter, VolumeReader, read_volume
from medkit.data.grid import Grid
from medkit.data.monai_io import GRID_KEY, HandedReader, knows_its_place, volume_metadata
from medkit.data.reading import file_suffix
from medkit.data.volume import Volume
from medkit.errors import CaseError, UsageError
from tests.monai_round_trip import there_and_back
from tests.phantoms import NAMES, OBLIQUE, SHAPE, hippocampus, nifti, write_hippocampus

IMAGE, LABELS = hippocampus()


@pytest.fixture
def path(tmp_path):
    write_hippocampus(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def metatensor(labels=LABELS[None], grid=None, affine=OBLIQUE):
    meta = {"filename_or_obj": "scan.nii.gz"} | ({GRID_KEY: grid.to_json()} if grid else {})
    return MetaTensor(torch.as_tensor(labels), affine=torch.tensor(affine), meta=meta)


def saver(folder, **options):
    writer = functools.partial(LabelWriter, names=NAMES)
    return SaveImage(folder, "seg", writer=writer, separate_folder=False, print_log=False, **options)


@pytest.mark.parametrize("dtype", [np.float32, None])
def test_it_loads_what_monais_own_reader_loads(path, dtype):
    ours = LoadImage(reader=VolumeReader(), dtype=dtype)(path)
    theirs = LoadImage(reader="NibabelReader", dtype=dtype)(path)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    assert torch.equal(ours.affine, theirs.affine)
    for key in ("spatial_shape", "space", "original_channel_dim", "filename_or_obj", "original_affine"):
        np.testing.assert_array_equal(ours.meta[key], theirs.meta[key])
    assert Grid.from_json(ours.meta[GRID_KEY]) == read_volume(path).grid


def test_big_endian_voxels_reach_torch(tmp_path):
    image = nifti(IMAGE)
    nib.save(nib.Nifti1Image(IMAGE, None, image.header.as_byteswapped(">")), tmp_path / "a.nii")
    tensor = LoadImage(reader=VolumeReader(), dtype=None)(tmp_path / "a.nii")
    np.testing.assert_array_equal(tensor, IMAGE)


def test_files_become_channels(tmp_path, path):
    write_hippocampus(tmp_path / "other.nii.gz", seed=1)
    loaded = LoadImage(reader=VolumeReader(), ensure_channel_first=True)([path, tmp_path / "other.nii.gz"])
    np.testing.assert_array_equal(loaded, np.stack([IMAGE, hippocampus(seed=1)[0]]))


def test_no_other_reader_gets_what_is_refused(tmp_path):
    spoilt = IMAGE.astype(np.float32)
    spoilt[0, 0, 0] = np.nan
    nib.save(nifti(spoilt), tmp_path / "a.nii.gz")
    assert LoadImage(reader="NibabelReader")(tmp_path / "a.nii.gz").isnan().any()
    with pytest.raises(CaseError) as caught:
        LoadImage(reader=VolumeReader())(tmp_path / "a.nii.gz")
    assert caught.value.code == "voxels-not-finite"
    with pytest.raises(RuntimeError) as wrapped:
        Compose([LoadImaged("image", reader=VolumeReader())])({"image": tmp_path / "a.nii.gz"})
    assert isinstance(wrapped.value.__cause__, CaseError)


def test_the_reader_knows_its_suffixes():
    assert VolumeReader().verify_suffix("a.nii.gz")
    assert VolumeReader().verify_suffix(["a.mha", "b.NRRD"])
    assert not VolumeReader().verify_suffix(["a.mha", "b.png"])


def test_metadata_of_channels():
    volume = Volume(np.stack([IMAGE] * 2, -1), Grid(SHAPE, OBLIQUE))
    assert volume_metadata(volume)["original_channel_dim"] == -1
    volume_metadata(volume)["affine"][0, 0] = 99
    assert volume.grid.affine[0, 0] == OBLIQUE[0, 0]


def test_an_image_without_its_metadata_does_not_know_its_place():
    grid = Grid(SHAPE, OBLIQUE)
    assert knows_its_place(metatensor(grid=grid))
    assert not knows_its_place(metatensor(grid=grid).as_tensor())
    assert not knows_its_place(metatensor())


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_a_handed_volume_is_read_whatever_its_name_and_stays_as_it_was(dtype):
    volume = Volume(np.ascontiguousarray(IMAGE, dtype), Grid(SHAPE, OBLIQUE), "<array>")
    load = LoadImage(reader=HandedReader(volume, 0), dtype=dtype)
    loaded = load("<array>")
    np.testing.assert_array_equal(loaded, IMAGE)
    loaded += 1
    np.testing.assert_array_equal(volume.array, IMAGE)
    assert HandedReader(volume, 0).verify_suffix("no name at all")


@pytest.mark.parametrize("axis", [0, 3])
def test_channels_of_a_handed_volume_go_where_they_are_wanted(axis):
    both = np.stack([IMAGE, IMAGE + 1], -1)
    volume = Volume(both, Grid(SHAPE, OBLIQUE))
    loaded = LoadImage(reader=HandedReader(volume, axis), dtype=None)("<array>")
    np.testing.assert_array_equal(loaded, np.moveaxis(both, -1, axis))
    assert loaded.meta["original_channel_dim"] == axis
    channels_first = LoadImage(reader=HandedReader(volume, axis), dtype=None, ensure_channel_first=True)
    np.testing.assert_array_equal(channels_first("<array>"), np.moveaxis(both, -1, 0))


def written(folder):
    (path,) = folder.glob("*")
    return path


def test_it_writes_on_the_grid_of_the_source(tmp_path, path):
    grid = read_volume(path).grid
    saver(tmp_path / "out")(metatensor(grid=grid))
    back = read_volume(written(tmp_path / "out"))
    assert back.grid == grid
    assert back.array.dtype == np.uint8
    np.testing.assert_array_equal(back.array, LABELS)
    assert nib.load(written(tmp_path / "out")).header.extensions[0].get_code() == 30


def test_without_a_source_it_writes_on_the_affine(tmp_path):
    saver(tmp_path)(metatensor(LABELS[None].astype(np.float32)))
    back = read_volume(written(tmp_path))
    np.testing.assert_allclose(back.grid.affine, OBLIQUE, atol=2e-5)
    np.testing.assert_array_equal(back.array, LABELS)


@pytest.mark.filterwarnings("ignore:data shape")
def test_without_a_channel_axis(tmp_path):
    saver(tmp_path, channel_dim=None)(metatensor(LABELS))
    np.testing.assert_array_equal(read_volume(written(tmp_path)).array, LABELS)


def test_names_may_be_keyed_by_text_as_in_json(tmp_path):
    assert LabelWriter(names={"1": "Anterior"}).names == {1: "Anterior"}
    assert LabelWriter().names == {}


FLIPPED = OBLIQUE @ np.diag([-1, 1, 1, 1])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (metatensor(LABELS[None, 1:], Grid(SHAPE, OBLIQUE)), "invert the preprocessing first"),
        (metatensor(grid=Grid(SHAPE, FLIPPED)), "invert the preprocessing first"),
        (metatensor(np.stack([LABELS] * 3)), "label map of one channel, got shape"),
        (metatensor(LABELS[None] + 0.5), "got fractions"),
        (torch.as_tensor(LABELS[None]), "affine of the label map, got none"),
    ],
)
def test_what_would_be_a_wrong_label_map_is_not_written(tmp_path, tensor, message):
    with pytest.raises(RuntimeError, match=message):
        saver(tmp_path)(tensor)
    assert list(tmp_path.iterdir()) == []


def test_sides_are_not_written_where_nobody_knows_them(tmp_path):
    """Of a NIfTI whose codes are 0, say."""
    unknown = metatensor(grid=Grid(SHAPE, OBLIQUE, side_known=False))
    sided = functools.partial(LabelWriter, names={1: "left kidney", 2: "right kidney"})
    with pytest.raises(RuntimeError, match="expected an image that states its left and right"):
        SaveImage(tmp_path, writer=sided, separate_folder=False, print_log=False)(unknown)
    assert list(tmp_path.iterdir()) == []
    saver(tmp_path)(unknown)
    assert len(list(tmp_path.iterdir())) == 1, "names without a side lie where they lie"


def test_the_order_of_calls():
    with pytest.raises(RuntimeError, match="set_data_array comes before"):
        LabelWriter().set_metadata({"affine": np.eye(4)})
    with pytest.raises(RuntimeError, match="come before write"):
        LabelWriter().write("a.nii")
    writer = LabelWriter()
    with pytest.raises(UsageError, match="one channel"):
        writer.set_data_array(np.zeros((2, 3, 3, 3)))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_the_grid_survives_loading_batching_inverting_and_saving(tmp_path, suffix, workers):
    from medkit.data import write_volume

    scan = tmp_path / f"scan{suffix}"
    write_volume(scan, IMAGE, Grid(SHAPE, OBLIQUE))
    there, back = there_and_back(1, tmp_path / "out", suffix)
    loader = DataLoader(
        Dataset([{"image": scan}], there), batch_size=1, num_workers=workers, collate_fn=list_data_collate
    )
    for batch in loader:
        batch["pred"] = (batch["image"] > 550).float()
        assert batch["image"].shape[2:] != SHAPE
        for item in decollate_batch(batch):
            assert item["image"].meta[GRID_KEY] == read_volume(scan).grid.to_json()
            back(item)
    result = read_volume(written(tmp_path / "out"))
    assert file_suffix(written(tmp_path / "out")) == suffix
    assert result.grid == read_volume(scan).grid
    overlap = (result.array & (LABELS > 0)).sum() * 2 / (result.array.sum() + (LABELS > 0).sum())
    assert overlap > 0.8


def real_files(folder):
    """Every hippocampus and a few files of each other folder."""
    for inner in sorted(folder.iterdir()):
        files = sorted(inner.rglob("*.nii*"))
        yield from files if inner.name == "hippocampus" else files[:: max(1, len(files) // 4)]


def test_real_files_load_as_monai_loads_them(real_data):
    """Files that are refused must be so for a reason that can be read off them."""
    loaded, refused = 0, {}
    ours, theirs = LoadImage(reader=VolumeReader()), LoadImage(reader="NibabelReader")
    for file in real_files(real_data):
        try:
            image = ours(file)
        except CaseError as error:
            refused[file.name] = error.code
            continue
        other = theirs(file)
        assert image.dtype == other.dtype == torch.float32
        assert torch.equal(image.as_tensor(), other.as_tensor()), file
        np.testing.assert_allclose(image.affine, other.affine, atol=1e-5)
        loaded += 1
    assert loaded > 400
    assert set(refused.values()) <= {"voxels-not-finite", "voxels-not-numeric"}


def test_real_files_of_each_kind_come_back_to_the_last_digit(real_data, tmp_path):
    from medkit.data import write_labels

    for number, file in enumerate(real_files(real_data)):
        if "hippocampus" in file.parts and number % 20:
            continue
        try:
            volume = read_volume(file)
        except CaseError:
            continue
        labels = np.zeros(volume.grid.shape, np.uint8)
        labels[2:4, 1, 0] = 1
        out = tmp_path / f"{number}.nii"
        write_labels(out, labels, volume.grid, {1: "Some"})
        assert read_volume(out).grid == volume.grid
        source, result = nib.load(file).header, nib.load(out).header
        for name in ("qform_code", "sform_code", "quatern_b", "qoffset_z", "srow_x", "xyzt_units"):
            assert source[name].tobytes() == result[name].tobytes(), (file, name)
