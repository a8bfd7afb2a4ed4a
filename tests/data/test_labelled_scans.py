"""What a training would learn from without a word is found before it begins."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from medkit.data.label_sets import LabelSets
from medkit.data.labelled_scans import check_labelled_scans
from medkit.errors import CaseError, UsageError
from tests.phantoms import nifti

AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


def sets_of(left: str = "left matter", right: str = "right matter", *, pairs: bool = True) -> LabelSets:
    table = [{"values": [0], "classes": ["background"]}, {"values": [10], "classes": [left]}]
    table.append({"values": [11], "classes": [right]})
    return LabelSets({"0": "background", "1": left, "2": right}, table, [[1, 2]] if pairs else [])


@pytest.fixture
def write(tmp_path):
    def item(
        case: str, values, affine=AFFINE, planes: int = 4, key: str = "label", bare: str = ""
    ) -> dict[str, str]:
        voxels = np.array(values, np.uint8).reshape(2, 1, 1).repeat(4, 1).repeat(planes, 2)
        made = {"image": (np.ones((2, 4, 4), np.int16), AFFINE), key: (voxels, affine)}
        paths = {name: tmp_path / f"{case}_{name}.nii.gz" for name in made}
        for name, (array, place) in made.items():
            nib.save(nib.Nifti1Image(array, None) if bare == name else nifti(array, place), paths[name])
        return {"case": case, **{name: str(path) for name, path in paths.items()}}

    return item


def test_all_maps_are_looked_at_for_values_that_the_table_lacks(write):
    sets = sets_of()
    values = [[0, 10], [7, 10], [10, 11], [8, 7], *[[99, 0]] * 4]
    items = [
        write(f"c{number}", pair, key="truth" if number == 3 else "label")
        for number, pair in enumerate(values)
    ]
    check_labelled_scans(sets, [items[0], items[2]])
    with pytest.raises(
        UsageError, match=r"label maps of c3: expected values of the table \(3 of them.*, got 7, 8; add"
    ):
        check_labelled_scans(sets, items[2:4])
    with pytest.raises(
        UsageError, match=r"label maps of c1, c3, c4, c5, c6, \.\.\.: expected .*, got 7, 8, 99; add"
    ):
        check_labelled_scans(sets, items)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"affine": np.diag([2.0, 2, 2, 1])},
            r"a_label.nii.gz: expected the grid of .*a_image.nii.gz, got voxels up to",
        ),
        ({"planes": 3}, r"got shape \(2, 4, 3\) instead of \(2, 4, 4\)"),
    ],
    ids=["mirrored", "fewer planes"],
)
def test_a_map_that_lies_elsewhere_is_refused(write, changes, message):
    with pytest.raises(CaseError, match=message) as caught:
        check_labelled_scans(sets_of(), [write("a", [0, 10], **changes)])
    assert caught.value.code == "grids-differ"


@pytest.mark.parametrize("bare", ["image", "label"])
def test_sizes_and_sides_are_never_guessed(write, bare, monkeypatch):
    item = write("a", [0, 10], bare=bare)
    other = "label" if bare == "image" else "image"
    nib.save(
        nib.Nifti1Image(np.zeros((2, 4, 4), np.uint8) if other == "label" else np.ones((2, 4, 4)), None),
        item[other],
    )
    with pytest.raises(CaseError, match="expected a file that states the size of its voxels") as caught:
        check_labelled_scans(sets_of(), [item])
    assert caught.value.code == "voxel-size-unknown"


def test_where_the_network_tells_sides_files_must(write):
    item = write("a", [0, 10])
    for key in ("image", "label"):
        image = nib.load(item[key])
        sized = nib.Nifti1Image(np.asanyarray(image.dataobj), None)
        sized.header.set_zooms((2.0, 2.0, 2.0))
        sized.header.set_xyzt_units("mm")
        nib.save(sized, item[key])
    with pytest.raises(CaseError, match="expected a file that states its left and right") as caught:
        check_labelled_scans(sets_of(), [item])
    assert caught.value.code == "side-unknown"
    check_labelled_scans(sets_of("upper matter", "lower matter", pairs=False), [item])
