"""One malformed input for each fault of a file: a maker writes it into a folder and returns its path."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medkit.data.reading import read_volume
from medkit.errors import CaseError
from tests.data.reading.files import IMAGE, changed, edited, header, itk_image, save, write_image
from tests.phantoms import SHAPE


def refusal(path: Path) -> CaseError:
    """The error with which a file is refused, in one line that says enough."""
    with pytest.raises(CaseError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "np." not in message
    assert str(path) in message
    assert "expected" in message
    assert "got" in message
    assert "\n" not in message
    return caught.value


def holding(name: str, content: bytes):
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def voxels(array, name="a.nii"):
    return lambda folder: save(folder / name, array)


def dims(*numbers):
    return header(dim=[*numbers, *[1] * (8 - len(numbers))])


def edges(x, y, z):
    return header(qform_code=0, srow_x=[x, 0, 0, 0], srow_y=[0, y, 0, 0], srow_z=[0, 0, z, 0])


def itk(image, name="a.mha"):
    return lambda folder: sitk.WriteImage(image, folder / name) or folder / name


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
