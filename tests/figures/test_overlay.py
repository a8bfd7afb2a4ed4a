"""Overlays: written whole, on the side that the letters say, legible for any volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from medkit.data import Grid, Volume, read_volume
from medkit.data.palette import label_colours
from medkit.errors import CaseError
from medkit.figures.legend import Sum
from medkit.figures.overlay import draw_overlay, overlay_pixels
from tests.figures.orientations import ALL_ORIENTATIONS, stored_as

NAMES = {0: "background", 1: "one", 2: "two"}
SHAPE = (40, 44, 30)


def constant_volume(stored, affine):
    rng = np.random.default_rng(0)
    return Volume(rng.normal(100, 20, stored.shape).astype(np.float32), Grid(stored.shape, affine))


def corner_label():
    """Label 1 on the patient's right, in front and above; label 2 left, behind and below."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[28:36, 30:38, 20:27] = 1
    labels[4:12, 6:14, 3:10] = 2
    return labels


def drawn(path):
    return imread(path)[..., :3]


def coloured(picture, value):
    """Pixels (row, column) of a label's contour lines in the room of the planes, legend left out."""
    near = np.abs(picture - np.array(label_colours({1: "one", 2: "two"})[value])).max(axis=2) < 0.08
    near[:, 1060:] = False
    return np.argwhere(near)


def panels(picture):
    """Columns of the three planes, found by their grey noise."""
    grey = (picture.std(axis=2) < 0.02) & (picture.mean(axis=2) > 0.2)
    busy = np.flatnonzero(grey[:, :1060].sum(axis=0) > 60)
    runs = np.split(busy, np.flatnonzero(np.diff(busy) > 8) + 1)
    return [(run[0], run[-1]) for run in runs]


def test_the_picture_has_its_size(tmp_path):
    stored, affine = stored_as(corner_label(), "RAS")
    path = tmp_path / "deep" / "case.png"
    draw_overlay(constant_volume(stored, affine), stored, NAMES, path, title="case")
    assert drawn(path).shape == (540, 1320, 3)
    assert [entry.name for entry in path.parent.iterdir()] == ["case.png"]


def test_pixels_are_those_of_the_file(tmp_path):
    stored, affine = stored_as(corner_label(), "LPS")
    volume, volumes = constant_volume(stored, affine), {1: 1.5, 2: 0.2}
    draw_overlay(volume, stored, NAMES, tmp_path / "case.png", title="case", volumes_ml=volumes)
    pixels = overlay_pixels(volume, stored, NAMES, title="case", volumes_ml=volumes)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.rint(drawn(tmp_path / "case.png") * 255))


@pytest.mark.parametrize("axcodes", [*ALL_ORIENTATIONS[::5], tuple("LAS"), tuple("PSR")], ids="".join)
def test_sides_are_where_the_letters_say(tmp_path, axcodes):
    stored, affine = stored_as(corner_label(), axcodes)
    both = constant_volume(stored, affine)
    for value, right_anterior_superior in ((1, True), (2, False)):
        only = np.where(stored == value, value, 0).astype(np.uint8)
        path = tmp_path / f"{value}.png"
        draw_overlay(both, only, NAMES, path, title="case")
        picture = drawn(path)
        found = coloured(picture, value)
        axial, coronal, sagittal = panels(picture)
        middle_row = 540 - (88 + 392 / 2)
        for first, last in (axial, coronal, sagittal):
            inside = found[(found[:, 1] >= first) & (found[:, 1] <= last)]
            assert len(inside) > 20
            row, column = inside.mean(axis=0)
            assert (column < (first + last) / 2) == right_anterior_superior
            assert (row < middle_row) == right_anterior_superior


def test_planes_have_the_proportions_of_the_patient(tmp_path):
    stored, affine = stored_as(corner_label(), "SLP")
    path = tmp_path / "case.png"
    draw_overlay(constant_volume(stored, affine), stored, NAMES, path, title="case")
    widths = [last - first for first, last in panels(drawn(path))]
    millimetres = [40 * 1.0, 40 * 1.0, 44 * 2.0]
    assert np.array(widths) / widths[0] == pytest.approx(np.array(millimetres) / millimetres[0], rel=0.03)


def test_a_stray_voxel_is_drawn(tmp_path):
    labels = corner_label()
    labels[labels == 2] = 0
    centre = (32, 34, 23)
    labels[8, centre[1], centre[2]] = 1
    stored, affine = stored_as(labels, "RAS")
    path = tmp_path / "case.png"
    draw_overlay(constant_volume(stored, affine), stored, NAMES, path, title="case")
    picture = drawn(path)
    first, last = panels(picture)[0]
    columns = coloured(picture, 1)[:, 1]
    assert ((columns > (first + last) / 2) & (columns < last)).sum() >= 2


def test_only_named_labels_are_drawn(tmp_path):
    stored, affine = stored_as(corner_label(), "RAS")
    for name, labels in (("both", stored), ("one", np.where(stored == 2, stored, 0))):
        path = tmp_path / f"{name}.png"
        draw_overlay(constant_volume(stored, affine), labels, {2: "two"}, path, title="case")
    np.testing.assert_array_equal(drawn(tmp_path / "both.png"), drawn(tmp_path / "one.png"))
    assert len(coloured(drawn(tmp_path / "one.png"), 1)) > 100, (
        "the first colour: there is no other structure"
    )


@pytest.mark.parametrize(("small", "large"), [(1, 2), (2, 1)])
def test_the_smaller_label_s_line_lies_on_top(tmp_path, small, large):
    inner, outer = (np.zeros(SHAPE, np.uint8) for _ in range(2))
    inner[16:24, 18:26, 11:19] = small
    outer[8:32, 10:34, 5:25] = large
    lines = []
    for name, labels in (("alone", inner), ("inside", np.where(inner > 0, inner, outer))):
        stored, affine = stored_as(labels, "RAS")
        draw_overlay(constant_volume(stored, affine), stored, NAMES, tmp_path / name, title="case")
        lines.append({tuple(place) for place in coloured(drawn(tmp_path / name), small)})
    alone, inside = lines
    assert len(alone) > 100
    assert len(alone & inside) > 0.75 * len(alone)  # what shines through tints some


def test_a_line_between_two_structures_has_one_colour_on_both_sides(tmp_path):
    """The inner structure is the larger one on the left, the smaller one on the right, and the smaller one in all."""
    names = {1: "left core", 2: "left shell", 3: "right core", 4: "right shell"}
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:17, 12:32, 5:25], labels[4:16, 13:31, 6:24] = 2, 1
    labels[22:38, 8:36, 2:28], labels[27:33, 18:26, 10:20] = 4, 3
    stored, affine = stored_as(labels, "RAS")
    draw_overlay(constant_volume(stored, affine), stored, names, tmp_path / "a.png", title="case")
    picture = drawn(tmp_path / "a.png")
    first, last = panels(picture)[0]
    columns = coloured(picture, 1)[:, 1]
    middle = (first + last) / 2
    right, left = (
        ((columns >= first) & (columns < middle)).sum(),
        ((columns > middle) & (columns <= last)).sum(),
    )
    assert left > 1.5 * right > 100


def test_truth_changes_the_picture_and_may_stand_alone(tmp_path):
    stored, affine = stored_as(corner_label(), "RAS")
    volume, empty = constant_volume(stored, affine), np.zeros_like(stored)
    paths = [tmp_path / f"{name}.png" for name in ("without", "with")]
    draw_overlay(volume, empty, NAMES, paths[0], title="case")
    draw_overlay(volume, empty, NAMES, paths[1], title="case", truth=stored)
    assert np.abs(drawn(paths[0]) - drawn(paths[1]))[:, :1060].max() > 0.3


@pytest.mark.parametrize(
    "array",
    [np.zeros(SHAPE), np.full(SHAPE, 7, np.int16), np.linspace(-1000, 2000, 52800).reshape(SHAPE)],
    ids=["zero", "constant", "ct"],
)
def test_any_range_of_voxels(tmp_path, array, recwarn):
    path = tmp_path / "case.png"
    draw_overlay(Volume(array, Grid(SHAPE, np.eye(4))), corner_label(), NAMES, path, title="case")
    assert path.exists()
    assert not recwarn.list


def test_doubt_covers_the_image_where_it_is_high(tmp_path):
    """The patient's left half is doubtful: the right half of the axial plane."""
    shape, path = (20, 20, 20), tmp_path / "a.png"
    volume = constant_volume(np.zeros(shape, np.uint8), np.eye(4))
    doubt = np.zeros(shape, np.float32)
    doubt[:10] = 1
    pictures = []
    for scale in (0, 1):
        draw_overlay(volume, np.zeros(shape, np.uint8), {}, path, title="t", doubt=scale * doubt)
        pictures.append(drawn(path)[250:300, 20:345])
    changed = np.flatnonzero(np.abs(pictures[1] - pictures[0]).max(axis=(0, 2)) > 0.3)
    plane = np.flatnonzero(np.ptp(pictures[1], axis=2).max(axis=0) + pictures[0].max(axis=(0, 2)) > 0.3)
    assert changed.size > 100
    assert changed.min() > plane.mean() - 15


def test_the_first_of_several_channels_is_shown(tmp_path):
    stored, affine = stored_as(corner_label(), "RAS")
    single = constant_volume(stored, affine)
    several = Volume(np.stack([single.array, np.zeros_like(single.array)], axis=-1), single.grid)
    for name, volume in (("single", single), ("several", several)):
        draw_overlay(volume, stored, NAMES, tmp_path / f"{name}.png", title="case")
    np.testing.assert_array_equal(drawn(tmp_path / "single.png"), drawn(tmp_path / "several.png"))


def test_names_and_titles_are_taken_literally(tmp_path):
    many = {value: f"$organ_{value}$ with a long name" for value in range(1, 60)}
    stored, affine = stored_as(corner_label(), "RAS")
    volumes = dict.fromkeys(many, 1234.5)
    path = tmp_path / "case.png"
    draw_overlay(constant_volume(stored, affine), stored, many, path, title="a$b_c^", volumes_ml=volumes)
    assert path.exists()


def test_long_names_end_before_the_volumes(tmp_path):
    stored, affine = stored_as(corner_label(), "RAS")
    pictures = []
    for name in ("w", "W" * 80):
        path = tmp_path / f"{len(name)}.png"
        draw_overlay(constant_volume(stored, affine), stored, {1: name}, path, title="t", volumes_ml={1: 1.0})
        pictures.append(drawn(path))
    changed = np.nonzero((pictures[0] != pictures[1]).any(axis=(0, 2)))[0]
    volume = np.nonzero(pictures[0][40:80, 1100:].max(axis=(0, 2)) > 0.3)[0] + 1100
    assert 1200 < changed.max() < volume.min()


@pytest.mark.parametrize("role", ["labels", "truth", "doubt", "about"])
def test_other_grids_are_refused(tmp_path, role):
    stored, affine = stored_as(corner_label(), "RAS")
    arrays = {**dict.fromkeys(("labels", "truth", "doubt", "about"), stored), role: stored[1:]}
    with pytest.raises(CaseError, match=role) as caught:
        draw_overlay(
            constant_volume(stored, affine),
            arrays["labels"],
            NAMES,
            tmp_path / "case.png",
            title="case",
            truth=arrays["truth"],
            doubt=arrays["doubt"],
            about=arrays["about"],
        )
    assert caught.value.code == "grids-differ"
    assert not list(tmp_path.iterdir())


def test_pixels_of_another_grid_are_refused():
    stored, affine = stored_as(corner_label(), "RAS")
    with pytest.raises(CaseError, match="labels") as caught:
        overlay_pixels(constant_volume(stored, affine), stored[1:], NAMES, title="case", volumes_ml={})
    assert caught.value.code == "grids-differ"


def test_nothing_is_left_behind_on_failure(tmp_path, monkeypatch):
    def half_a_picture(self, path, **_):
        Path(path).write_bytes(b"\x89PNG half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half_a_picture)
    stored, affine = stored_as(corner_label(), "RAS")
    with pytest.raises(OSError, match="disk full"):
        draw_overlay(constant_volume(stored, affine), stored, NAMES, tmp_path / "case.png", title="case")
    assert not list(tmp_path.iterdir())


def test_a_hippocampus_is_drawn_over_its_image(real_data, tmp_path):
    data = real_data / "hippocampus"
    image_path = sorted((data / "images").glob("*.nii*"))[0]
    image = read_volume(image_path)
    labels = read_volume(data / "labels" / image_path.name).array.astype(np.uint8)
    names = {1: "anterior", 2: "posterior"}
    draw_overlay(image, labels, names, tmp_path / "case.png", title="case", truth=labels)
    assert nib.aff2axcodes(image.grid.affine) == ("R", "A", "S")
    assert len(coloured(drawn(tmp_path / "case.png"), 1)) > 50


@pytest.fixture
def said(monkeypatch):
    """All that is written into pictures."""
    said = []
    write = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda axes, x, y, text, **style: (said.append(text), write(axes, x, y, text, **style))
    )
    return said


@pytest.mark.parametrize("known", [True, False])
def test_where_the_voxel_size_is_unknown_nothing_is_said_in_millimetres(tmp_path, said, known):
    stored, affine = stored_as(corner_label(), "RAS")
    volume = Volume(np.ones(stored.shape, np.float32), Grid(stored.shape, affine, size_known=known))
    volumes = {1: 3.5, 2: 4.5} if known else dict.fromkeys((1, 2), "unknown")
    draw_overlay(volume, stored, NAMES, tmp_path / "a.png", title="case", volumes_ml=volumes)
    text = "\n".join(said)
    assert (" mm" in text) == (" ml" in text) == known
    assert (" voxels" in text) == ("unknown" in text) == ("Axial, plane" in text) == (not known)


@pytest.mark.parametrize("known", [True, False])
def test_where_the_side_is_unknown_no_letter_claims_one(tmp_path, said, known):
    stored, affine = stored_as(corner_label(), "RAS")
    volume = Volume(np.ones(stored.shape, np.float32), Grid(stored.shape, affine, side_known=known))
    draw_overlay(volume, stored, NAMES, tmp_path / "a.png", title="case")
    letters = [text for text in said if len(text) == 1]
    assert len(letters) == 12
    assert set(letters) == (set("RLAPSI") if known else {"?"})
    text = "\n".join(said)
    assert ("Radiological" in text) == ("mm\nSagittal, " in text) == known
    assert ("Sagittal, plane" in text) == (not known)
    assert " mm" in text, "the scale is known"


def test_planes_go_through_what_the_picture_is_about(tmp_path, said):
    stored, affine = stored_as(corner_label(), "RAS")
    volume, place = constant_volume(stored, affine), np.zeros(SHAPE, bool)
    place[5, 40, 25] = True
    draw_overlay(volume, stored, NAMES, tmp_path / "labels.png", title="case")
    usual = [text for text in said if text.endswith(" mm") and "," in text]
    said.clear()
    draw_overlay(volume, stored, NAMES, tmp_path / "place.png", title="case", about=place)
    places = [text for text in said if text.endswith(" mm") and "," in text]
    x, y, z = (affine @ (5, 40, 25, 1))[:3]
    sides = ("LR"[int(x >= 0)], "PA"[int(y >= 0)], "IS"[int(z >= 0)])
    expected = [f"{side} {abs(value):.0f} mm" for side, value in zip(sides, (x, y, z), strict=True)]
    assert [text.split(", ")[1] for text in places] == expected[::-1]
    assert places != usual


SIDED = {1: "left kidney", 2: "liver", 3: "right kidney"}


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        ({1: 3.456, 2: 1500.4, 3: 12.3}, {"L 3.46, R 12.3 ml", "1500 ml"}),
        (dict.fromkeys(SIDED, "unknown"), {"L, R unknown", "unknown"}),
        ({}, {"L, R", ""}),
    ],
)
def test_two_sides_have_one_row_of_the_legend(tmp_path, said, volumes, expected):
    stored, affine = stored_as(corner_label(), "RAS")
    volume = constant_volume(stored, affine)
    draw_overlay(volume, stored, SIDED, tmp_path / "a.png", title="case", volumes_ml=volumes)
    assert {"kidney", "liver", *expected} <= {*said}
    assert not {"left kidney", "right kidney"} & {*said}


def test_the_two_sides_are_drawn_in_one_colour(tmp_path):
    labels = corner_label()
    labels[4:12, 30:38, 20:27] = 3  # beside label 1
    stored, affine = stored_as(labels, "RAS")
    draw_overlay(constant_volume(stored, affine), stored, SIDED, tmp_path / "a.png", title="case")
    picture = drawn(tmp_path / "a.png")
    (first, last), columns = panels(picture)[0], coloured(picture, 1)[:, 1]
    middle = (first + last) / 2
    assert ((columns > first) & (columns < middle)).sum() > 20
    assert ((columns > middle) & (columns < last)).sum() > 20


def test_all_of_a_brain_is_in_the_legend(tmp_path, said):
    """Eighteen structures, fourteen of them on both sides, and two maps."""
    paired = [f"structure {number} with a name" for number in range(14)]
    texts = [*(f"left {name}" for name in paired), "a", "b", "c", "d", *(f"right {name}" for name in paired)]
    names = dict(enumerate(texts, 1))
    stored, affine = stored_as(corner_label(), "RAS")
    volume, volumes = constant_volume(stored, affine), dict.fromkeys(names, 12.34)
    path = tmp_path / "a.png"
    draw_overlay(volume, stored, names, path, title="case", volumes_ml=volumes, truth=stored)
    assert {*paired, "a", "b", "c", "d", "prediction", "reference"} <= {*said}
    assert not [text for text in said if text.endswith(" more")]


def test_what_the_legend_has_no_room_for_is_the_smallest(tmp_path, said):
    names = {value: f"rib {value}" for value in range(1, 41)}
    stored, affine = stored_as(corner_label(), "RAS")
    volume, volumes = constant_volume(stored, affine), {value: float(value) for value in names}
    draw_overlay(volume, stored, names, tmp_path / "a.png", title="case", volumes_ml=volumes)
    listed = [int(text.split()[1]) for text in said if text.startswith("rib")]
    assert listed == [*range(41 - len(listed), 41)]
    assert len(listed) > 18
    assert f"and {40 - len(listed)} more" in said


def test_sums_stand_in_the_legend_with_what_is_said_of_them(tmp_path, said):
    stored, affine = stored_as(corner_label(), "RAS")
    sums = [Sum("whole", 3.5, "90 % interval 3.11 to 3.72 ml"), Sum("other", "unknown", "")]
    draw_overlay(constant_volume(stored, affine), stored, NAMES, tmp_path / "a.png", title="case", sums=sums)
    assert {"whole", "3.50 ml", "90 % interval 3.11 to 3.72 ml", "other", "unknown"} <= {*said}


def test_where_sums_fill_the_legend_no_structure_is_counted_twice(tmp_path, said):
    names = {value: f"rib {value}" for value in range(1, 31)}
    stored, affine = stored_as(corner_label(), "RAS")
    sums = [Sum(f"sum {number}", 1.0, "90 % interval 3.11 to 3.72 ml") for number in range(11)]
    draw_overlay(constant_volume(stored, affine), stored, names, tmp_path / "a.png", title="case", sums=sums)
    listed = [text for text in said if text.startswith("rib")]
    assert f"and {30 - len(listed)} more" in said


def notes_drawn(tmp_path, said, notes, of_volume=()):
    said.clear()
    stored, affine = stored_as(corner_label(), "RAS")
    volume = replace(constant_volume(stored, affine), notes=tuple(of_volume))
    draw_overlay(volume, stored, NAMES, tmp_path / "a.png", title="case", notes=notes)
    start = next(place for place, text in enumerate(said) if text.startswith("Radiological")) + 1
    end = next(place for place, text in enumerate(said) if text == "one")
    return " ".join(text for text in reversed(said[start : end - 1]) if text), drawn(tmp_path / "a.png")


def test_remarks_are_drawn_each_once_and_wrapped(tmp_path, said):
    of_volume, of_result = "the header states no unit", "brain-stem is cut by the edge of the image"
    text, _ = notes_drawn(tmp_path, said, [of_volume, of_result], [of_volume])
    assert text == f"{of_volume}; {of_result}"
    many = [
        f"remark {number} of some length, so that all of them take more than one line" for number in range(6)
    ]
    text, _ = notes_drawn(tmp_path, said, many)
    assert text == "; ".join(many)


def test_remarks_that_do_not_fit_are_counted(tmp_path, said):
    many = [
        f"remark {number} of some length, so that all of them take more than one line" for number in range(40)
    ]
    text, _ = notes_drawn(tmp_path, said, many)
    shown = text.split("; ")
    assert shown[:-1] == many[: len(shown) - 1]
    assert shown[-1] == f"and {40 - len(shown) + 1} more in the record"
    assert len(shown) > 6


def test_a_remark_that_is_too_long_by_itself_is_cut(tmp_path, said):
    text, _ = notes_drawn(tmp_path, said, ["word " * 400, "another"])
    assert text.endswith("…; and 1 more in the record")
    text, _ = notes_drawn(tmp_path, said, ["word " * 400])
    assert text.endswith("… (whole in the record)")


def test_remarks_take_no_place_from_what_else_is_written(tmp_path, said):
    pictures = [
        notes_drawn(tmp_path, said, [f"remark {number}, {'and on ' * 25}" for number in range(count)])[1]
        for count in (1, 3)
    ]
    legends = [picture[:200, 1035:] for picture in pictures]
    np.testing.assert_array_equal(*legends)
    amber = [(picture[..., 0] - picture[..., 2] > 0.3) & (picture[..., 2] < 0.6) for picture in pictures]
    rows = [np.flatnonzero(one[460:].any(axis=1)) + 460 for one in amber]
    assert rows[0].min() > 515 > rows[1].min() > 485
    letters = [np.flatnonzero(picture[:, 20:1030].max(axis=(1, 2)) > 0.9) for picture in pictures]
    assert letters[1].max() < rows[1].min(), "what is written below the planes went up"


def test_the_legend_calls_both_maps_what_they_are(tmp_path, said):
    stored, affine = stored_as(corner_label(), "RAS")
    volume = constant_volume(stored, affine)
    draw_overlay(volume, stored, NAMES, tmp_path / "a.png", title="case", truth=stored)
    assert {"prediction", "reference"} <= set(said)
    said.clear()
    called = ("version 1", "version 2")
    draw_overlay(volume, stored, NAMES, tmp_path / "b.png", title="case", truth=stored, called=called)
    assert set(called) <= set(said)
    assert not {"prediction", "reference"} & set(said)
