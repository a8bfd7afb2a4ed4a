import hashlib
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.data.datalist import (
    data_hashes,
    find_dataset,
    fold_items,
    fold_label_maps,
    mixed_items,
    number_of_folds,
    remaining_folds,
)
from medkit.errors import UsageError


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b", "c"):
            (tmp_path / folder / f"{name}.nii.gz").write_bytes(f"{folder}{name}".encode())
    (tmp_path / "dataset.json").write_text(json.dumps({"folds": [["b"], ["a", "c"]]}))
    return tmp_path


def test_items_of_folds_in_listed_order(dataset: Path):
    items = fold_items(dataset, [1, 0])
    assert [item["case"] for item in items] == ["a", "c", "b"]
    assert items[0]["image"] == str(dataset / "images" / "a.nii.gz")
    assert items[0]["label"] == str(dataset / "labels" / "a.nii.gz")
    assert set(fold_items(dataset, [0], "truth")[0]) == {"case", "image", "truth"}


def test_images_and_labels_of_other_names(tmp_path: Path):
    for place in ("t1/one_T1", "tool/one-labels"):
        path = tmp_path / f"{place}.nii.gz"
        path.parent.mkdir()
        path.write_bytes(b"")
    places = {"images": "t1/{case}_T1", "labels": "tool/{case}-labels"}
    (item,) = fold_items(tmp_path, [0], split=[["one"]], **places)
    assert item["image"] == str(tmp_path / "t1" / "one_T1.nii.gz")
    assert item["label"] == str(tmp_path / "tool" / "one-labels.nii.gz")
    with pytest.raises(UsageError, match=r"t1: no image called 'two_T1', which the folds list"):
        fold_items(tmp_path, [0], split=[["two"]], **places)
    with pytest.raises(UsageError, match=r"expected a place with \{case\} in it, .*, got 'tool/one-labels'"):
        fold_items(tmp_path, [0], split=[["one"]], images=places["images"], labels="tool/one-labels")


def test_label_maps_without_images(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    split = [["two"], ["one"]]
    expected = {"case": "one", "label": str(tmp_path / "one.nii.gz")}
    assert fold_label_maps(tmp_path, [1], split) == [expected]
    with pytest.raises(UsageError, match="no image called 'three', which the folds list"):
        fold_label_maps(tmp_path, [0], [["three"]])
    with pytest.raises(UsageError, match=r"fold 2: .* has folds 0 to 1"):
        fold_label_maps(tmp_path, [2], split)


def test_remaining_folds(dataset: Path):
    assert number_of_folds(dataset) == 2
    assert remaining_folds(dataset, None) == [0, 1]
    assert remaining_folds(dataset, 0) == [1]
    with pytest.raises(UsageError, match=r"fold 2: .* has folds 0 to 1"):
        remaining_folds(dataset, 2)


def test_real_folds_are_split_by_scan(real_data: Path):
    folder = real_data / "hippocampus"
    scans = [{(int(item["case"][-3:]) + 1) // 2 for item in fold_items(folder, [fold])} for fold in range(5)]
    assert sum(len(part) for part in scans) == len(set.union(*scans))
    assert sum(len(fold_items(folder, [fold])) for fold in range(5)) == 192


def test_hashes_cover_images_and_labels(dataset: Path):
    hashes = data_hashes(fold_items(dataset, [0]))
    assert hashes == {
        "images/b.nii.gz": hashlib.sha256(b"imagesb").hexdigest(),
        "labels/b.nii.gz": hashlib.sha256(b"labelsb").hexdigest(),
    }


def test_hashes_cover_detached_voxels(dataset: Path):
    (dataset / "images" / "b.nii.gz").rename(dataset / "images" / "b.img")
    (dataset / "images" / "b.hdr").write_bytes(b"header")
    hashes = data_hashes(fold_items(dataset, [0]))
    assert hashes["images/b.img"] == hashlib.sha256(b"imagesbheader").hexdigest()


def test_images_that_cannot_be_hashed_are_named(dataset: Path):
    items = fold_items(dataset, [0])
    Path(items[0]["label"]).unlink()
    with pytest.raises(UsageError, match=r"labels/b\.nii\.gz: expected an image that can be read"):
        data_hashes(items)


def test_missing_image_is_named(dataset: Path):
    (dataset / "labels" / "c.nii.gz").unlink()
    with pytest.raises(UsageError, match=r"labels: no image called 'c', which the folds list"):
        fold_items(dataset, [1])


@given(st.integers(0, 60), st.integers(0, 60), st.fractions(0, 1, max_denominator=20))
def test_a_share_is_kept_whatever_the_numbers(first: int, second: int, share: Fraction):
    one, other = (
        [{"case": f"{kind}{number}"} for number in range(count)]
        for kind, count in (("a", first), ("b", second))
    )
    mixed = [item["case"] for item in mixed_items(one, other, float(share))]
    if not first or not second:
        assert mixed == [item["case"] for item in [*one, *other]]
        return
    assert sum(case.startswith("b") for case in mixed) == share * len(mixed)
    for kind, asked in (("a", share < 1), ("b", share > 0)):
        times = Counter(case for case in mixed if case.startswith(kind))
        assert len(times) == (first if kind == "a" else second) * asked
        assert len({*times.values()}) <= 1, "each as often as the others of its kind"


def test_a_share_that_is_no_part_is_refused():
    for share in (3, "half", True, float("nan")):
        with pytest.raises(
            UsageError, match=rf"expected a share from 0 to 1 of the samples, got {share}; correct it"
        ):
            mixed_items([], [], share)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"folds": [["a"], ["a"]]}', '{"folds": []}'])
def test_unusable_list_is_refused(dataset: Path, text: str):
    (dataset / "dataset.json").write_text(text)
    with pytest.raises(UsageError, match=r"dataset\.json: "):
        fold_items(dataset, [0])


def test_data_set_is_found_through_the_variable(dataset: Path, monkeypatch):
    monkeypatch.setenv("MEDKIT_DATA", str(dataset.parent))
    assert find_dataset(dataset.name) == str(dataset)
    with pytest.raises(UsageError, match="there is no folder 'other' in it"):
        find_dataset("other")
    monkeypatch.delenv("MEDKIT_DATA")
    with pytest.raises(UsageError, match="Set MEDKIT_DATA to the folder"):
        find_dataset("hippocampus")
