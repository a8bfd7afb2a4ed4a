from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medkit.data import find_cases
from medkit.errors import UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def found(*inputs) -> dict[str, list[str]]:
    return {case.name: [path.name for path in case.paths] for case in find_cases(inputs)}


def refused(*inputs) -> str:
    with pytest.raises(UsageError) as caught:
        find_cases(inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_searched_in_depth_and_names_are_relative_to_it(tmp_path):
    touch(
        tmp_path, "b.nii.gz", "a/T1 map.nii", "a/deep/é.NRRD", "a/notes.txt", "a/bvals.json", "c.mha", "d.mgz"
    )
    assert found(tmp_path) == {
        "a/T1 map": ["T1 map.nii"],
        "a/deep/é": ["é.NRRD"],
        "b": ["b.nii.gz"],
        "c": ["c.mha"],
        "d": ["d.mgz"],
    }
    assert all(case.paths[0].is_absolute() for case in find_cases([str(tmp_path)]))


def test_names_do_not_change_when_a_second_case_comes(tmp_path):
    touch(tmp_path, "sub-1/anat/T1.nii.gz")
    assert list(found(tmp_path)) == ["sub-1/anat/T1"]
    touch(tmp_path, "sub-2/anat/T1.nii.gz")
    assert list(found(tmp_path)) == ["sub-1/anat/T1", "sub-2/anat/T1"]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    touch(tmp_path, "a.nii", "._a.nii", ".b.nii", ".git/annex/c.nii", "d/.trash/e.nii")
    assert list(found(tmp_path)) == ["a"]


def test_a_folder_within_a_hidden_one_can_be_named(tmp_path):
    touch(tmp_path, ".cache/data/a.nii")
    assert list(found(tmp_path / ".cache/data")) == ["a"]


def test_a_pair_is_one_case(tmp_path):
    touch(tmp_path, "a.hdr", "a.img", "b.hdr.gz", "b.img.gz", "c.img", "d.mhd", "d.raw", "e.nhdr", "e.raw.gz")
    assert found(tmp_path) == {
        "a": ["a.hdr"],
        "b": ["b.hdr.gz"],
        "c": ["c.img"],
        "d": ["d.mhd"],
        "e": ["e.nhdr"],
    }


def test_a_pair_in_capitals_is_one_case(tmp_path):
    touch(tmp_path, "A.HDR", "A.IMG", "b.HDR.GZ", "b.IMG.GZ", "c.IMG")
    assert found(tmp_path) == {"A": ["A.HDR"], "b": ["b.HDR.GZ"], "c": ["c.IMG"]}


def test_links_keep_their_own_name(tmp_path):
    touch(tmp_path, "store/x81.nii.gz", "study/a.nii.gz")
    (tmp_path / "study/b.nii.gz").symlink_to(tmp_path / "store/x81.nii.gz")
    assert list(found(tmp_path / "study")) == ["a", "b"]
    assert list(found(tmp_path / "study/b.nii.gz")) == ["b"]


def test_linked_folders_are_entered_and_circles_are_not(tmp_path):
    touch(tmp_path, "store/scan.nii", "study/a.nii")
    (tmp_path / "study/linked").symlink_to(tmp_path / "store")
    (tmp_path / "study/self").symlink_to(tmp_path / "study")
    assert list(found(tmp_path / "study")) == ["a", "linked/scan"]


def test_a_folder_that_is_there_twice_goes_by_its_own_name(tmp_path):
    touch(tmp_path, "real/scan.nii")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    (tmp_path / "zero").symlink_to(tmp_path / "real")
    assert list(found(tmp_path)) == ["real/scan"]


def test_a_link_whose_file_was_never_fetched_is_a_case_that_will_fail(tmp_path):
    touch(tmp_path, "a.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "gone")
    assert list(found(tmp_path)) == ["a", "b"]


def test_a_folder_without_images(tmp_path):
    touch(tmp_path, "notes.txt")
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: expected image files (ending in .nii.gz,")
    assert "got a folder with none" in message
    assert "DICOM series become such files with 'medkit dicom convert'" in message


def test_masks_of_padding_are_no_cases(tmp_path):
    touch(tmp_path, "003.nii.gz", "003_padding.nii.gz", "other_padding.nii.gz")
    assert list(found(tmp_path)) == ["003", "other_padding"]
    assert list(found(tmp_path / "003_padding.nii.gz")) == ["003_padding"]


def test_a_folder_that_cannot_be_searched(tmp_path, monkeypatch):
    touch(tmp_path, "a.nii", "locked/b.nii")
    scandir = os.scandir

    def deny(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert "locked: expected a path, got one that fails (Permission denied)" in refused(tmp_path)


def test_files_are_named_relative_to_their_common_root(tmp_path):
    touch(tmp_path, "x/a.nii", "y/z/a.nii.gz", "c.mha")
    assert list(found(tmp_path / "x/a.nii")) == ["a"]
    assert list(found(tmp_path / "x/a.nii", tmp_path / "y/z/a.nii.gz")) == ["x/a", "y/z/a"]
    assert list(found(tmp_path / "c.mha", tmp_path / "x")) == ["c", "x/a"]


def test_a_file_named_twice_is_one_case(tmp_path, monkeypatch):
    touch(tmp_path, "a.nii", "b/c.nii")
    monkeypatch.chdir(tmp_path)
    assert list(found("a.nii", tmp_path / "a.nii", "b/../a.nii", tmp_path)) == ["a", "b/c"]
    assert list(found("b/c.nii", "b", tmp_path / "b/c.nii")) == ["c"]
    (tmp_path / "a.nii").unlink()
    assert list(found("b/c.nii", tmp_path)) == list(found(tmp_path, "b/c.nii")) == ["b/c"]


def test_no_name_leads_out_of_the_output_folder(tmp_path, monkeypatch):
    touch(tmp_path, "data/a.nii", "other/b.nii")
    monkeypatch.chdir(tmp_path / "data")
    assert list(found("a.nii", "../other/b.nii")) == ["data/a", "other/b"]
    assert list(found("../other")) == ["b"]


def test_two_dots_after_a_linked_folder_mean_what_the_system_means(tmp_path, monkeypatch):
    touch(tmp_path, "far/inner/x.nii", "far/a.nii", "near/b.nii")
    (tmp_path / "near/link").symlink_to(tmp_path / "far/inner")
    monkeypatch.chdir(tmp_path / "near")
    (case,) = find_cases(["link/../a.nii"])
    assert case.paths == (tmp_path / "far/a.nii",)


def test_files_of_any_suffix_may_be_named(tmp_path):
    touch(tmp_path, "scan.v2.img2")
    assert list(found(tmp_path / "scan.v2.img2")) == ["scan.v2"]


def test_two_files_of_one_name(tmp_path):
    touch(tmp_path, "a.nii.gz", "a.nrrd")
    message = refused(tmp_path)
    assert "'a'" in message
    assert str(tmp_path / "a.nii.gz") in message
    assert str(tmp_path / "a.nrrd") in message


def test_nothing_there(tmp_path):
    assert refused(tmp_path / "gone.nii").startswith(
        f"{tmp_path / 'gone.nii'}: expected a file or folder, got nothing"
    )
    assert "got one that fails (File name too long)" in refused("x" * 300)
    assert "no input was named" in refused()


def test_a_circle_of_links(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refused(tmp_path / "a/x.nii")
    (tmp_path / "l.txt").write_text("a/x.nii\n")
    assert list(found(tmp_path / "l.txt")) == ["x"]


def test_paths_in_a_list_are_relative_to_its_folder(tmp_path, monkeypatch):
    touch(tmp_path, "lists/x", "data/a b.nii", "data/ü.nii")
    listed = tmp_path / "lists/all.txt"
    listed.write_text(f"../data/a b.nii\n\n  ../data/ü.nii  \n{tmp_path}/data/gone.nii\n", encoding="utf-8")
    monkeypatch.chdir("/")
    assert list(found(listed)) == ["a b", "ü", "gone"]
    assert find_cases([listed])[0].paths == (tmp_path / "data/a b.nii",)


def test_a_list_from_windows(tmp_path):
    touch(tmp_path, "a.nii", "ö.nii")
    (tmp_path / "l.txt").write_bytes("\ufeffa.nii\r\nö.nii\r\n".encode())
    assert list(found(tmp_path / "l.txt")) == ["a", "ö"]


def test_channels_in_json(tmp_path):
    entries = [
        "a.nii",
        ["t1.nii", "flair.nii"],
        {"image": "b.nii"},
        {"image": ["c1.nii", "c2.nii"], "label": "x"},
    ]
    (tmp_path / "l.json").write_text(json.dumps(entries))
    assert found(tmp_path / "l.json") == {
        "a": ["a.nii"],
        "t1": ["t1.nii", "flair.nii"],
        "b": ["b.nii"],
        "c1": ["c1.nii", "c2.nii"],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", b"", "got an empty list"),
        ("l.txt", b"\n \n", "got an empty list"),
        ("l.txt", b"\xff\xfe\x00a", "a list in UTF-8"),
        ("l.json", b"[]", "got an empty list"),
        ("l.json", b"[1]", "entry 1, got 1"),
        ("l.json", b'["a.nii", []]', r"entry 2, got \[\]"),
        ("l.json", b'["a.nii", " "]', "entry 2, got ' '"),
        ("l.json", b'[["a.nii", null]]', "entry 1, got"),
        ("l.json", b'[{"label": "a.nii"}]', "entry 1, got {'label': 'a.nii'}"),
        ("l.json", b'{"image": "a.nii"}', "got dict"),
        ("l.json", b'["a.nii"', "got invalid JSON"),
        ("l.json", b"\xff\xfe", "a list in UTF-8"),
    ],
)
def test_lists_that_say_nothing(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"^{tmp_path / name}: expected .*{message}") as caught:
        find_cases([tmp_path / name])
    assert "\n" not in str(caught.value)


def test_names_too_long_for_those_of_the_results(tmp_path):
    (tmp_path / "l.txt").write_text("é" * 101 + ".nii")
    assert "at most 200 bytes" in refused(tmp_path / "l.txt")
    (tmp_path / "l.txt").write_text("é" * 100 + ".nii")
    assert list(found(tmp_path / "l.txt")) == ["é" * 100]


def test_two_groups_that_share_their_first_file(tmp_path):
    (tmp_path / "l.json").write_text(json.dumps([["a.nii", "b.nii"], ["a.nii", "c.nii"]]))
    assert "both be case 'a'" in refused(tmp_path / "l.json")


def test_real_hippocampi_keep_their_folders_as_names(real_data):
    cases = find_cases([real_data / "hippocampus"])
    assert len({case.name for case in cases}) == len(cases) == 384
    assert {case.name.split("/")[0] for case in cases} == {"images", "labels"}


def test_packed_cases_are_those_of_a_folder_that_holds_no_other_image(tmp_path):
    touch(tmp_path, "a.npz", "deep/b.NPZ", "notes.txt")
    assert found(tmp_path) == {"a": ["a.npz"], "deep/b": ["b.NPZ"]}


def test_arrays_beside_images_are_other_programs(tmp_path):
    touch(tmp_path, "a.nii.gz", "a.npz", "deep/b.npz")
    assert found(tmp_path) == {"a": ["a.nii.gz"]}
    assert found(tmp_path / "deep" / "b.npz") == {"b": ["b.npz"]}


def test_arrays_that_are_left_out_are_told(tmp_path):
    lines: list[str] = []
    touch(tmp_path, "a.nii.gz", "b.npz", "deep/c.npz")
    find_cases([tmp_path], on_left_out=lines.append)
    (line,) = lines
    assert line.startswith(f"{tmp_path}: b.npz and 1 more: ")
    assert "name them, or a list of them" in line
    lines.clear()
    cases = find_cases([tmp_path, tmp_path / "b.npz", tmp_path / "deep"], on_left_out=lines.append)
    assert [case.name for case in cases] == ["a", "b", "deep/c"]
    assert lines == []
