"""What is finished is skipped; what changed is run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import pytest

import medkit
from medkit.inference import run as run_module
from tests.inference.run.reports import report
from tests.phantoms import hippocampus, nifti, write_hippocampus
from tests.tiny_bundle import edit_json


def test_finished_cases_are_left_untouched(segment, tmp_path):
    assert set(segment(pictures=True).values()) == {"done"}
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.*") if p.parent.name != "out"}
    assert len(before) == 9
    assert set(segment(pictures=True).values()) == {"skipped"}
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert set(segment(force=True).values()) == {"done"}


def test_skipped_cases_are_not_read(segment, images, monkeypatch):
    segment()
    monkeypatch.setattr(run_module, "read_channels", lambda paths: pytest.fail("read a finished case"))
    assert set(segment().values()) == {"skipped"}


def test_changed_image_is_run_again(segment, images):
    segment()
    write_hippocampus(images / "b.nii.gz", seed=77)
    assert segment() == {"a": "skipped", "b": "done", "c": "skipped"}


@pytest.mark.parametrize("kind", ["labels/b.nii.gz", "pictures/b.png", "cases/b.json"])
def test_missing_output_is_made_again(segment, tmp_path, kind):
    segment(pictures=True)
    (tmp_path / "out" / kind).unlink()
    assert segment(pictures=True) == {"a": "skipped", "b": "done", "c": "skipped"}
    assert (tmp_path / "out" / kind).is_file()


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"status": ["done"]}', '{"status": "done", "case": "b"}', "\xff"]
)
def test_damaged_record_is_no_record(segment, tmp_path, damage):
    segment()
    (tmp_path / "out" / "cases" / "b.json").write_text(damage, encoding="latin-1")
    assert segment() == {"a": "skipped", "b": "done", "c": "skipped"}


def test_other_overrides_run_again(segment, tiny_root):
    segment()
    other = medkit.load(tiny_root, overrides={"inferer::overlap": 0.25})
    assert set(segment(bundle=other, force=True).values()) == {"done"}
    assert set(segment(bundle=other).values()) == {"skipped"}
    assert set(segment(force=True).values()) == {"done"}


def test_flips_run_again(segment, tiny_root, tmp_path):
    segment()
    mirrored = medkit.load(tiny_root, flips="LR")
    assert set(segment(bundle=mirrored, force=True).values()) == {"done"}
    assert report(tmp_path / "out")["cases"][0]["flips"] == {"axes": ["LR"], "swapped": []}
    assert set(segment(bundle=mirrored).values()) == {"skipped"}
    assert set(segment(bundle=medkit.load(tiny_root, flips="LR,AP"), force=True).values()) == {"done"}
    assert set(segment(force=True).values()) == {"done"}
    assert "flips" not in report(tmp_path / "out")["cases"][0]


def test_overrides_from_python_compare_equal_to_their_record(segment, tiny_root):
    changed = medkit.load(tiny_root, overrides={"patch_size": (16, 24, 16)})
    assert set(segment(bundle=changed).values()) == {"done"}
    assert set(segment(bundle=changed).values()) == {"skipped"}


@pytest.mark.parametrize("file", ["configs/inference.json", "models/model.pt"])
def test_other_bundle_content_runs_again(segment, tiny_root, tmp_path, file):
    root = shutil.copytree(tiny_root, tmp_path / "mine")
    segment(bundle=medkit.load(root))
    if file.endswith(".json"):
        edit_json(root / file, lambda config: config["inferer"].update(overlap=0.25))
    else:
        with (root / file).open("ab") as weights:
            weights.write(b"\0")
    assert set(segment(bundle=medkit.load(root), force=True).values()) == {"done"}


def test_outputs_asked_for_later_are_made(segment, tmp_path):
    segment()
    assert not (tmp_path / "out" / "pictures").exists()
    assert set(segment(pictures=True).values()) == {"done"}
    assert set(segment().values()) == {"skipped"}
    assert set(segment(probabilities=True).values()) == {"done"}
    assert not list((tmp_path / "out" / "pictures").iterdir()), (
        "a picture that no record lists is of old labels"
    )


def test_moved_images_are_known_by_their_content(segment, images, tmp_path):
    segment()
    images.rename(tmp_path / "elsewhere")
    assert set(segment(tmp_path / "elsewhere").values()) == {"skipped"}


def test_changed_voxels_beside_an_unchanged_header_are_noticed(segment, tmp_path):
    for seed in (0, 1):
        image = nifti(hippocampus(seed=seed)[0], kind=nib.Nifti1Pair)
        nib.save(image, tmp_path / "pair.img")
        assert segment(tmp_path / "pair.hdr") == {"pair": "done"}
        assert segment(tmp_path / "pair.hdr") == {"pair": "skipped"}
    record = report(tmp_path / "out")["cases"][0]
    assert [Path(file["path"]).name for file in record["input"]] == ["pair.hdr", "pair.img"]
