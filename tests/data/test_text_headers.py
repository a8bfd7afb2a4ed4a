from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from medkit.data.text_headers import (
    check_metaimage_axes,
    check_metaimage_stream,
    check_metaimage_units,
    check_nrrd_stream,
    data_files,
    nrrd_geometry,
    nrrd_remarks,
    with_nrrd_geometry,
)
from medkit.errors import CaseError

VOXELS = bytes(range(27))
FIELDS = {
    "type": "uchar",
    "dimension": "3",
    "space": "right-anterior-superior",
    "sizes": "3 3 3",
    "space directions": "(0.1, 0, 0) (0,0.30000000000000004,0) (0,0,3)",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
GEOMETRY = (
    "space: right-anterior-superior",
    "space directions: (0.1, 0, 0) (0,0.30000000000000004,0) (0,0,3)",
    "space origin: (1,2,3)",
)


def nrrd(path, voxels=VOXELS, end="\n", **changes):
    fields = {key: value for key, value in (FIELDS | changes).items() if value is not None}
    header = "".join(f"{key}: {value}{end}" for key, value in fields.items())
    path.write_bytes(f"NRRD0004{end}# a comment{end}{header}{end}".encode() + voxels)
    return path


def meta(path, voxels, **changes):
    fields = {"ObjectType": "Image", "NDims": "3", "CompressedData": "True", **changes}
    header = "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None)
    path.write_bytes(
        f"{header}ElementDataFile = {changes.get('ElementDataFile', 'LOCAL')}\n".encode() + voxels
    )
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_geometry_is_kept_as_written(tmp_path, end):
    assert nrrd_geometry(nrrd(tmp_path / "a.nrrd", end=end)) == GEOMETRY


def test_an_axis_of_channels_has_no_part_in_it(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", **{"space directions": "none " + FIELDS["space directions"]})
    assert nrrd_geometry(path) == GEOMETRY


@pytest.mark.parametrize("missing", ["space", "space directions", "space origin"])
def test_part_of_a_geometry_is_none(tmp_path, missing):
    assert nrrd_geometry(nrrd(tmp_path / "a.nrrd", **{missing: None})) is None


def test_two_directions_are_none(tmp_path):
    assert nrrd_geometry(nrrd(tmp_path / "a.nrrd", **{"space directions": "(1,0) (0,1)"})) is None


@pytest.mark.parametrize("units", ['"mm" "mm" "mm"', '"" "" ""', None])
def test_millimetres(tmp_path, units):
    assert nrrd_geometry(nrrd(tmp_path / "a.nrrd", **{"space units": units})) == GEOMETRY


def test_other_units_are_refused(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", **{"space units": '"mm" "um" "mm"'})
    with pytest.raises(CaseError, match=f"{path}: expected .* got a header in mm, um; scale") as caught:
        nrrd_geometry(path)
    assert caught.value.code == "units-not-mm"


def test_lines_replace_their_like_and_nothing_else(tmp_path):
    path = nrrd(
        tmp_path / "a.nrrd", **{"space": "LPS", "space origin": "(0,0,0)", "space directions": "(1,0,0)"}
    )
    assert with_nrrd_geometry(path.read_bytes(), GEOMETRY) == nrrd(tmp_path / "b.nrrd").read_bytes()


def test_an_axis_of_channels_stays_without_direction(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", **{"space directions": "none (1,0,0) (0,1,0) (0,0,1)"})
    assert b"directions: none (0.1, 0, 0) (0" in with_nrrd_geometry(path.read_bytes(), GEOMETRY)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_whole_streams_pass(tmp_path, pack):
    check_nrrd_stream(nrrd(tmp_path / "a.nrrd", pack(VOXELS), encoding="gzip"))
    check_metaimage_stream(meta(tmp_path / "a.mha", pack(VOXELS)))
    (tmp_path / "voxels.raw").write_bytes(pack(VOXELS))
    check_nrrd_stream(nrrd(tmp_path / "a.nhdr", b"", encoding="gz", **{"data file": "voxels.raw"}))
    check_metaimage_stream(meta(tmp_path / "a.mhd", b"", ElementDataFile="voxels.raw"))


def test_uncompressed_voxels_are_not_looked_at(tmp_path):
    check_nrrd_stream(nrrd(tmp_path / "a.nrrd"))
    check_metaimage_stream(meta(tmp_path / "a.mha", VOXELS, CompressedData="False"))
    check_metaimage_stream(meta(tmp_path / "a.mha", VOXELS, CompressedData=None))


def test_what_itk_must_find_is_left_to_it(tmp_path):
    check_nrrd_stream(nrrd(tmp_path / "a.nhdr", b"", encoding="gzip", **{"data file": "gone.raw"}))
    check_nrrd_stream(nrrd(tmp_path / "a.nhdr", b"", encoding="gzip", **{"data file": "LIST"}))
    (tmp_path / "voxels.raw").write_bytes(b"one line\n" + gzip.compress(VOXELS))
    skipping = {"data file": "voxels.raw", "line skip": "1"}
    check_nrrd_stream(nrrd(tmp_path / "a.nhdr", b"", encoding="gzip", **skipping))
    check_metaimage_stream(meta(tmp_path / "a.mhd", b"", ElementDataFile="voxels%03d.raw 1 9 1"))


def test_damaged_streams(tmp_path):
    stream = zlib.compress(VOXELS)
    wrong_sum = stream[:-1] + bytes([stream[-1] ^ 1])
    for voxels, error in (
        (wrong_sum, zlib.error),
        (stream[:-1], ValueError),
        (VOXELS, zlib.error),
        (b"", ValueError),
    ):
        with pytest.raises(error):
            check_metaimage_stream(meta(tmp_path / "a.mha", voxels))
        with pytest.raises(error):
            check_nrrd_stream(nrrd(tmp_path / "a.nrrd", voxels, encoding="gzip"))
        (tmp_path / "voxels.raw").write_bytes(voxels)
        with pytest.raises(error):
            check_metaimage_stream(meta(tmp_path / "a.mhd", b"", ElementDataFile="voxels.raw"))
        with pytest.raises(error):
            check_nrrd_stream(nrrd(tmp_path / "a.nhdr", b"", encoding="gzip", datafile="voxels.raw"))


@pytest.mark.parametrize("axes", ["2", "4", "93", "-3", "x", None])
def test_other_numbers_of_axes_never_reach_itk(tmp_path, axes):
    path = meta(tmp_path / "a.mha", VOXELS, NDims=axes)
    with pytest.raises(CaseError, match=f"{path}: expected a 3D image, got NDims = {axes}") as caught:
        check_metaimage_axes(path)
    assert caught.value.code == "not-3d"


def test_three_axes_pass(tmp_path):
    check_metaimage_axes(meta(tmp_path / "a.mha", VOXELS))


@pytest.mark.parametrize("units", ["mm", "MM", "?", "", None])
def test_metaimage_in_millimetres(tmp_path, units):
    check_metaimage_units(meta(tmp_path / "a.mha", VOXELS, DistanceUnits=units))


@pytest.mark.parametrize("units", ["cm", "um", "m"])
def test_metaimage_in_other_units_is_refused(tmp_path, units):
    path = meta(tmp_path / "a.mha", VOXELS, DistanceUnits=units)
    with pytest.raises(CaseError, match=f"{path}: expected .* got DistanceUnits = {units} in") as caught:
        check_metaimage_units(path)
    assert caught.value.code == "units-not-mm"


@pytest.mark.parametrize("space", ["RAS", "left-anterior-superior", "Left-Posterior-Superior"])
def test_anatomical_spaces_need_no_remark(tmp_path, space):
    path = nrrd(tmp_path / "a.nrrd", space=space)
    assert nrrd_remarks(path, nrrd_geometry(path)) == ()


def test_remarks_on_the_place(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", space="scanner-xyz")
    (note,) = nrrd_remarks(path, nrrd_geometry(path))
    assert note.startswith("the header's space is 'scanner-xyz'")
    path = nrrd(tmp_path / "a.nrrd", space=None)
    (note,) = nrrd_remarks(path, nrrd_geometry(path))
    assert note.startswith("the header holds no space")


def test_files_that_a_header_names(tmp_path):
    assert data_files(nrrd(tmp_path / "a.nrrd")) == []
    assert data_files(meta(tmp_path / "a.mha", VOXELS)) == []
    assert data_files(nrrd(tmp_path / "b.nrrd", **{"data file": " ../ü.raw"})) == [tmp_path / "../ü.raw"]
    assert data_files(meta(tmp_path / "b.mha", b"", ElementDataFile="/x.raw")) == [Path("/x.raw")]
    assert data_files(nrrd(tmp_path / "c.nrrd", b"x.raw\ny.raw", datafile="LIST")) == [
        tmp_path / "x.raw",
        tmp_path / "y.raw",
    ]


def test_damaged_voxels_in_a_file_of_another_script(tmp_path):
    (tmp_path / "脳.zraw").write_bytes(zlib.compress(VOXELS)[:-1])
    with pytest.raises(ValueError, match="end early"):
        check_metaimage_stream(meta(tmp_path / "a.mhd", b"", ElementDataFile="脳.zraw"))
    with pytest.raises(ValueError, match="end early"):
        check_nrrd_stream(nrrd(tmp_path / "a.nhdr", b"", encoding="gzip", **{"data file": "脳.zraw"}))
