"""Every format gives the same voxels in the same place; what is damaged is refused in one line."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from medkit.data.grid import Grid
from medkit.data.reading import file_suffix, read_channels, read_volume, volume_from_itk, volume_from_nibabel
from medkit.errors import CaseError, UsageError
from tests.phantoms import OBLIQUE, SHAPE, hippocampus, nifti, write_hippocampus

IMAGE, LABELS = hippocampus()
NIFTI_TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def itk_image(array=IMAGE, affine=OBLIQUE):
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(edges.tolist())
    image.SetDirection((lps[:3, :3] / edges).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def write_image(path: Path) -> Path:
    suffix = file_suffix(path)
    if suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        sitk.WriteImage(itk_image(), path)
    elif suffix.startswith((".img", ".hdr")):
        nib.save(nifti(IMAGE, kind=nib.Nifti1Pair), path)
    elif suffix in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(IMAGE, OBLIQUE), path)
    else:
        nib.save(nifti(IMAGE), path)
    return path


def patched(path: Path, **fields) -> Path:
    """Overwrite header fields of an uncompressed NIfTI-1 file, whatever they may then mean."""
    raw = bytearray(path.read_bytes())
    header = np.ndarray((), nib.nifti1.header_dtype, buffer=raw)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(raw)
    return path


def refusal(path: Path, error=CaseError) -> CaseError:
    with pytest.raises(error) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "np." not in message
    assert str(path) in message
    assert "expected" in message
    assert "got" in message
    assert "\n" not in message
    return caught.value


def peak_bytes(run) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- it works ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "a.nii",
        "a.nii.gz",
        "a.img",
        "a.hdr",
        "a.img.gz",
        "a.hdr.gz",
        "a.mgz",
        "a.nrrd",
        "a.nhdr",
        "a.mha",
        "a.mhd",
    ],
)
def test_every_format_gives_the_same_voxels_in_the_same_place(tmp_path, name):
    volume = read_volume(write_image(tmp_path / name))
    assert volume.array.dtype == IMAGE.dtype
    np.testing.assert_array_equal(volume.array, IMAGE)
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=2e-5)
    assert volume.grid.shape == SHAPE
    assert volume.name == str(tmp_path / name)
    assert volume.notes == ()


@pytest.mark.parametrize("name", ["bild über gehirn.nii.gz", "脳.nrrd", "脳 1.mha", "UPPER.NII.GZ"])
def test_names_with_blanks_and_other_scripts(tmp_path, name):
    np.testing.assert_array_equal(read_volume(write_image(tmp_path / name)).array, IMAGE)


def test_link_to_a_file(tmp_path):
    write_hippocampus(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array, IMAGE)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", NIFTI_TYPES)
def test_voxels_keep_their_type_in_native_order(tmp_path, code, order, kind):
    array = np.clip(IMAGE, 0, 120).astype(code)
    image = nifti(array, kind=kind)
    header = image.header.as_byteswapped(order)
    nib.save(kind(array, None, header, dtype=array.dtype), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.array.dtype == np.dtype(code)
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(("slope", "inter"), [(1, -1024), (0.1, 0), (1.7e-3, 3.3), (-2, 0.5)])
def test_scaled_voxels_are_what_monai_makes_of_them(tmp_path, slope, inter):
    from monai.transforms import LoadImage

    path = write_image(tmp_path / "a.nii")
    patched(path, scl_slope=slope, scl_inter=inter)
    array = read_volume(path).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, LoadImage(reader="NibabelReader")(path).numpy())
    np.testing.assert_allclose(array, IMAGE * np.float64(np.float32(slope)) + np.float32(inter), rtol=1e-5)


@pytest.mark.parametrize("slope", [np.nan, np.inf, 0])
def test_no_slope_means_unscaled(tmp_path, slope):
    array = read_volume(patched(write_image(tmp_path / "a.nii"), scl_slope=slope)).array
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, IMAGE)


@pytest.mark.parametrize("tail", [(4,), (1,), (1, 1), (1, 4), (4, 1)])
def test_channels_may_lie_on_the_fourth_or_the_fifth_axis(tmp_path, tail):
    array = np.stack([IMAGE + c for c in range(np.prod(tail))], -1).reshape(*SHAPE, *tail)
    nib.save(nifti(array), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, array.reshape(SHAPE if 4 not in tail else (*SHAPE, 4)))


def test_itk_vectors_become_channels(tmp_path):
    sitk.WriteImage(sitk.Compose(itk_image(), itk_image(IMAGE + 1)), tmp_path / "a.nrrd")
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array, np.stack([IMAGE, IMAGE + 1], -1))
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=1e-9)


def test_one_file_per_channel(tmp_path):
    for seed in (0, 1):
        write_hippocampus(tmp_path / f"{seed}.nii.gz", seed=seed)
    volume = read_channels([tmp_path / "0.nii.gz", tmp_path / "1.nii.gz"])
    np.testing.assert_array_equal(volume.array, np.stack([IMAGE, hippocampus(seed=1)[0]], -1))


def test_a_remark_on_every_channel_is_made_once(tmp_path):
    path = patched(write_image(tmp_path / "a.nii"), xyzt_units=0)
    assert len(read_channels([path, path, path]).notes) == 1


def test_images_in_memory():
    for volume in (volume_from_nibabel(nifti(IMAGE)), volume_from_itk(itk_image())):
        np.testing.assert_array_equal(volume.array, IMAGE)
        np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=1e-12)


def test_what_must_be_taken_on_trust_is_noted(tmp_path):
    path = patched(write_image(tmp_path / "a.nii"), xyzt_units=0, qform_code=0, sform_code=0)
    assert [note.split(":")[0] for note in read_volume(path).notes] == [
        "the header states no unit of length; taken as millimetres",
        "qform and sform are both unset",
    ]
    nib.save(nib.AnalyzeImage(IMAGE, None), tmp_path / "b.img")
    assert "side is unknown" in read_volume(tmp_path / "b.img").notes[0]
    raw = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 3 3 3\nspacings: 1 1 2\nencoding: raw\n\n" + bytes(27)
    (tmp_path / "c.nrrd").write_bytes(raw)
    assert "side are unknown" in read_volume(tmp_path / "c.nrrd").notes[0]


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_nrrd_space_that_does_not_say_where_left_is(tmp_path, space):
    path = edited("a.nrrd", b"left-posterior-superior", space.encode())(tmp_path)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE)
    assert volume.notes == (
        f"the header's space is '{space}', not an anatomical one: orientation and side are unknown",
    )


@pytest.mark.parametrize("coded", ["both", "qform", "sform"])
def test_header_changed_in_memory_does_not_move_the_image(tmp_path, coded):
    from medkit.data import write_labels

    image = nifti(IMAGE)
    elsewhere = np.diag([2.0, 2, 2, 1]) @ OBLIQUE
    if coded != "sform":
        image.header.set_qform(elsewhere, 1 if coded == "both" else 2)
    if coded != "qform":
        image.header.set_sform(elsewhere, 1)
    if coded != "both":
        (image.header.set_sform if coded == "qform" else image.header.set_qform)(None, 0)
    volume = volume_from_nibabel(image)
    np.testing.assert_array_equal(volume.grid.affine, image.affine)
    write_labels(tmp_path / "labels.nii", LABELS, volume.grid, {})
    nib.save(image, tmp_path / "image.nii")
    for name in ("labels", "image"):
        np.testing.assert_allclose(nib.load(tmp_path / f"{name}.nii").affine, OBLIQUE, atol=2e-5)


def test_header_that_agrees_with_its_image_is_kept(tmp_path):
    nib.save(nifti(IMAGE), tmp_path / "a.nii")
    for image in (nifti(IMAGE), nib.load(tmp_path / "a.nii")):
        assert volume_from_nibabel(image).grid.nifti == Grid.nifti_fields(image.header)


# --- it fails well ----------------------------------------------------------------------------------------
# Each maker writes one malformed input into a folder and returns its path.


def save(path: Path, array, affine=OBLIQUE) -> Path:
    nib.save(nifti(np.asarray(array), affine), path)
    return path


def holding(name: str, content: bytes):
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def voxels(array, name="a.nii"):
    return lambda folder: save(folder / name, array)


def header(**fields):
    return lambda folder: patched(write_image(folder / "a.nii"), **fields)


def dims(*numbers):
    return header(dim=[*numbers, *[1] * (8 - len(numbers))])


def edges(x, y, z):
    return header(qform_code=0, srow_x=[x, 0, 0, 0], srow_y=[0, y, 0, 0], srow_z=[0, 0, z, 0])


def itk(image, name="a.mha"):
    return lambda folder: sitk.WriteImage(image, folder / name) or folder / name


def changed(name: str, change):
    """A good image file, its bytes changed."""

    def make(folder: Path) -> Path:
        path = write_image(folder / name)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def edited(name: str, old: bytes, new: bytes):
    return changed(name, lambda content: content.replace(old, new))


def cut(name: str, share: float):
    return changed(name, lambda content: content[: int(share * len(content))])


def renamed(name: str, wrong: str):
    return lambda folder: write_image(folder / name).rename(folder / wrong)


def without(gone: str, name: str):
    def make(folder: Path) -> Path:
        write_image(folder / name)
        (folder / gone).unlink()
        return folder / name

    return make


def a_folder(folder: Path) -> Path:
    (folder / "a.nii").mkdir()
    return folder / "a.nii"


def a_broken_link(folder: Path) -> Path:
    (folder / "a.nii").symlink_to("gone")
    return folder / "a.nii"


def packed(folder: Path) -> Path:
    content = dims(3, 30000, 30000, 30000)(folder).read_bytes()
    return holding("a.nii.gz", gzip.compress(content))(folder)


def spoilt(value):
    array = IMAGE.astype(np.float32)
    array[3, 4, 5] = value
    return array


RGB = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
PIXDIM_NAN = [1, 1, np.nan, 1, 1, 1, 1, 1]
HUGE = b" 30000 30000 30000"
HUGE_MGH = np.array([1 << 16, 1 << 16, 2], ">i4").tobytes()

MALFORMED = {
    "file-missing": {
        "missing": lambda folder: folder / "a.nii.gz",
        "broken link": a_broken_link,
        "folder": a_folder,
    },
    "format-unknown": {"PNG": holding("a.png", b"x"), "no suffix": holding("a", b"x")},
    "empty-volume": {"0 voxels": dims(3, 0, 5, 5), "0 axes": dims(0, 5, 5, 5)},
    "not-3d": {
        "2D": voxels(IMAGE[..., 0]),
        "one slice": voxels(IMAGE[..., :1]),
        "five axes": voxels(np.zeros((4, 4, 4, 2, 2), np.int16)),
        "2D MHA": itk(itk_image()[:, :, 0]),
        "4D MHA": itk(sitk.JoinSeries([itk_image()] * 2)),
        "2D NRRD": itk(itk_image()[:, :, 0], "a.nrrd"),
        "MHA of 93 axes, at which ITK dies": edited("a.mha", b"NDims = 3", b"NDims = 93"),
    },
    "voxels-not-finite": {
        "NaN": voxels(spoilt(np.nan)),
        "infinite": voxels(spoilt(-np.inf), "a.nii.gz"),
        "NaN in MHA": itk(itk_image(spoilt(np.nan))),
    },
    "voxels-not-numeric": {"complex": voxels(IMAGE.astype(np.complex64)), "RGB": voxels(RGB)},
    "spacing-absurd": {
        "0": edges(1, 1, 0),
        "0 that nibabel takes for 1": header(pixdim=[1, 1, 0, 1, 1, 1, 1, 1], qform_code=0, sform_code=0),
        "0 beside a qform": header(pixdim=[1, 1, 0, 1, 1, 1, 1, 1], sform_code=0),
        "sign that nibabel drops": header(pixdim=[1, -1, 1, 1, 1, 1, 1, 1]),
        "1e-9": edges(1, 1e-9, 1),
        "1e6": edges(1e6, 1, 1),
        "1e-9 in MHA": edited("a.mha", b"ElementSpacing = 1.2", b"ElementSpacing = 1e-9 "),
    },
    "affine-not-finite": {
        "edge NaN": edges(1, np.nan, 1),
        "pixdim NaN": header(pixdim=PIXDIM_NAN, sform_code=0),
        "origin infinite": header(srow_x=[1, 0, 0, np.inf]),
    },
    "affine-singular": {
        "two axes alike": header(qform_code=0, srow_x=[1, 1, 0, 0], srow_y=[0, 0, 1, 0], srow_z=[0, 0, 0, 0])
    },
    "forms-disagree": {"moved": header(qoffset_x=12), "NaN": header(quatern_b=np.nan)},
    "units-not-mm": {
        "metres": header(xyzt_units=1),
        "micrometres": header(xyzt_units=3 + 8),
        "no unit": header(xyzt_units=5),
        "NRRD in metres": edited("a.nrrd", b"\nkinds", b'\nspace units: "m" "m" "m"\nkinds'),
        "MHA in centimetres": edited("a.mha", b"NDims = 3", b"NDims = 3\nDistanceUnits = cm"),
    },
    "file-truncated": {
        "30000^3": dims(3, 30000, 30000, 30000),
        "30000^3 in gz": packed,
        "MGH whose size is 0 to 32 bits": changed(
            "a.mgh", lambda content: content[:4] + HUGE_MGH + content[16:]
        ),
        "30000^3 NRRD": edited("a.nrrd", b"sizes: 13 11 9", b"sizes:" + HUGE),
        "30000^3 MHA": edited("a.mha", b"= 13 11 9", b"=" + HUGE),
        "cut .nii": cut("a.nii", 0.99),
        "cut .img": cut("a.img", 0.5),
    },
    "file-unreadable": {
        "cut .nii.gz": cut("a.nii.gz", 0.9),
        "cut by its last byte": changed("a.nii.gz", lambda content: content[:-1]),
        "cut .mgz": cut("a.mgz", 0.5),
        "cut NRRD": cut("a.nrrd", 0.7),
        "cut MHA": cut("a.mha", 0.7),
        "cut NRRD header": cut("a.nrrd", 0.02),
        "text": holding("a.nii", b"this is a text file\n" * 40),
        "text as gz": holding("a.nii.gz", b"this is a text file\n" * 40),
        "text as NRRD": holding("a.nrrd", b"this is a text file\n" * 40),
        "empty": holding("a.nii", b""),
        "empty gz": holding("a.nii.gz", b""),
        "empty NRRD": holding("a.nrrd", b""),
        "empty MGZ": holding("a.mgz", b""),
        "gz that is none": renamed("a.nii", "a.nii.gz"),
        "gz in disguise": renamed("a.nii.gz", "a.nii"),
        "wrong magic": header(magic=b"abc"),
        "unknown type": header(datatype=77),
        "9 axes": dims(9, 5, 5, 5),
        "negative axis": dims(3, -5, 5, 5),
        "no rotation": header(quatern_b=3, sform_code=0),
        "scl_inter NaN": header(scl_slope=2, scl_inter=np.nan),
        "img without hdr": without("a.hdr", "a.img"),
        "hdr without img": without("a.img", "a.hdr"),
        "mhd without raw": without("a.raw", "a.mhd"),
        "name too long": lambda folder: folder / f"{'x' * 300}.nii",
    },
}


@pytest.mark.parametrize(
    ("code", "what"), [(code, what) for code, whats in MALFORMED.items() for what in whats]
)
def test_malformed_input_is_refused_in_one_line(tmp_path, code, what, recwarn):
    refused = refusal(MALFORMED[code][what](tmp_path))
    assert refused.code == code, refused
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_edges_beside_a_lone_sform_may_be_anything(tmp_path):
    path = header(pixdim=[1, 0, -1, 0, 1, 1, 1, 1], qform_code=0)(tmp_path)
    np.testing.assert_array_equal(read_volume(path).array, IMAGE)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz", "a.mha", "a.nrrd"])
def test_no_flipped_bit_passes_for_a_voxel(tmp_path, name):
    if name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(itk_image(), tmp_path / name, useCompression=True)
    else:
        write_image(tmp_path / name)
    whole, refused = (tmp_path / name).read_bytes(), 0
    for place in range(len(whole) // 3, len(whole), 31):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :])
        try:
            np.testing.assert_array_equal(read_volume(tmp_path / name).array, IMAGE)
        except CaseError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("name", ["a.nii", "a.mgh", "a.nrrd", "a.mha"])
@given(data=st.data())
def test_garbage_in_the_header_never_raises_anything_else(tmp_path, name, data):
    path = tmp_path / name
    write_image(path)
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 350), min_size=1, max_size=6)):
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        volume = read_volume(path)
    except CaseError:
        return
    assert np.isfinite(volume.array).all()
    assert volume.array.shape[:3] == volume.grid.shape
    assert abs(np.linalg.det(volume.grid.affine)) > 0


def test_headers_that_claim_too_much_cost_no_memory(tmp_path):
    for what in ("30000^3", "30000^3 in gz"):
        path = MALFORMED["file-truncated"][what](tmp_path)
        assert peak_bytes(lambda path=path: refusal(path)) < 1e6


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
def test_a_short_header_may_stand_for_many_voxels(tmp_path, name):
    sitk.WriteImage(itk_image(np.zeros((200, 200, 100), np.uint8)), tmp_path / name)
    assert read_volume(tmp_path / name).array.shape == (200, 200, 100)


@pytest.mark.parametrize(("dtype", "slope", "copies"), [("i2", np.nan, 1), ("f4", np.nan, 1), ("i2", 0.5, 3)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_memory_is_that_of_the_volume(tmp_path, name, dtype, slope, copies):
    """Of `copies` times what is stored: scaling 2 bytes makes 4 more, and nothing else may hold a volume."""
    array = np.random.default_rng(0).integers(0, 32000, (64, 64, 200)).astype(dtype)
    image = nifti(array)
    image.header.set_slope_inter(slope, None if np.isnan(slope) else 0)
    nib.save(image, tmp_path / name)
    read_volume(tmp_path / name)
    assert peak_bytes(lambda: read_volume(tmp_path / name)) < copies * array.nbytes * 1.15 + 1.2e6


def test_channels_must_share_a_grid(tmp_path):
    first = save(tmp_path / "a.nii", IMAGE)
    shifted = OBLIQUE.copy()
    shifted[:3, 3] += 0.5
    rounded = OBLIQUE + 1e-5
    assert read_channels([first, save(tmp_path / "b.nii", IMAGE, rounded)]).array.shape == (*SHAPE, 2)
    for other in (
        save(tmp_path / "moved.nii", IMAGE, shifted),
        save(tmp_path / "small.nii", IMAGE[:-1]),
        save(tmp_path / "4d.nii", np.stack([IMAGE] * 2, -1)),
    ):
        with pytest.raises(CaseError, match=f"{other}.*expected.*got") as caught:
            read_channels([first, other])
        assert caught.value.code == "channels-on-different-grids"


def test_an_empty_list_of_channels_is_a_fault_of_the_call():
    with pytest.raises(UsageError, match="empty list"):
        read_channels([])


def test_a_damaged_nibabel_image_is_refused_under_its_name():
    image = nifti(IMAGE)
    image.header["quatern_b"] = 3
    with pytest.raises(CaseError, match="<nibabel image>: expected") as caught:
        volume_from_nibabel(image)
    assert caught.value.code == "file-unreadable"


@pytest.mark.parametrize("where", ["LOCAL", "a.zraw"])
def test_metaimage_whose_voxels_do_not_match_their_checksum(tmp_path, where):
    path = tmp_path / ("a.mha" if where == "LOCAL" else "a.mhd")
    sitk.WriteImage(itk_image(), path, useCompression=True)
    voxels = path if where == "LOCAL" else tmp_path / where
    voxels.write_bytes(voxels.read_bytes()[:-1] + b"\0")
    assert "incorrect data check" in str(refusal(path))


def test_real_hippocampi(real_data):
    files = sorted((real_data / "hippocampus").glob("*/*.nii.gz"))
    assert len(files) > 300
    for file in files:
        volume = read_volume(file)
        assert volume.grid.spacing == (1, 1, 1)
        np.testing.assert_array_equal(volume.array, np.asanyarray(nib.load(file).dataobj))
