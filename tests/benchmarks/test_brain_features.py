"""The measures of features, all of them, on phantoms: what is written, not done twice, and refused."""

from __future__ import annotations

import json

import brain_features
import numpy as np
import pytest
import torch
from brain_features_heads import BIAS, RESOLUTION, SEGMENTATION, SYNTHESIS, LabelMaps, example
from brain_features_patients import OTHER, OTHER_FILES, PATIENT, PATIENT_FILES
from brain_features_sources import BUNDLE, INTENSITIES, UNTRAINED, sources

import medkit
from medkit.bundle.store import find_bundle
from medkit.networks.blocks import to_blocks
from tests.head_phantom import head
from tests.phantoms import nifti
from tests.tiny_brains import NAME, make_tiny_brains


@pytest.fixture(scope="module")
def tiny_brains(tmp_path_factory):
    """With weights other than those of a network that is made anew, and one answer for all voxels of a block."""
    root = make_tiny_brains(tmp_path_factory.mktemp("brains"))
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    rng = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        value.add_(0.1 * torch.randn(value.shape, generator=rng))
        if ".head." in name:
            value.view(-1, 8, *value.shape[1:])[:] = value[::8, None]
    torch.save(weights, root / "models" / "model.pt")
    return root


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Phantoms in the place of label maps and of patients."""
    import nibabel as nib

    maps = tmp_path / "data" / "brain_label_maps"
    maps.mkdir(parents=True)
    for number in range(1, 13):
        labels = head((40 + number, 48, 44)).numpy()[0, 0]
        nib.save(nifti(labels, np.eye(4)), maps / f"training_seg_{number:02}.nii.gz")
    rng = np.random.default_rng(0)
    for folder, files, spacing in ((PATIENT, PATIENT_FILES, 1.0), (OTHER, OTHER_FILES, 1.2)):
        place = tmp_path / "data" / "ms_multicontrast" / folder
        place.mkdir(parents=True)
        for name in files.values():
            image = (head((24, 28, 26)).numpy()[0, 0] % 7 + rng.random((24, 28, 26))).astype(np.float32)
            nib.save(nifti(image, np.diag([spacing] * 3 + [1.0])), place / f"{name}.nii.gz")
    monkeypatch.setenv("MEDKIT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def call(root, tmp_path, *more):
    words = ["--bundle", root, "--samples", 2, "--size", 32, "--steps", 3, "--runs", tmp_path / "runs"]
    brain_features.main([str(word) for word in [*words, "--output", tmp_path / "table.md", *more]])


def test_all_is_measured_once(tiny_brains, data, tmp_path, monkeypatch, capsys):
    call(tiny_brains, tmp_path, "--pictures", tmp_path / "pictures")
    text = (tmp_path / "table.md").read_text()
    assert text in capsys.readouterr().out + "\n"
    for name in (BUNDLE, UNTRAINED, INTENSITIES):
        assert text.count(f"| {name} |") == 2, "one head beside others, and a patient"
        assert text.count(f"| one layer on: {name} |") == 4
    assert text.count("| the input as it is |") == 2
    assert text.count("| no field |") == 1
    assert "nan" not in text
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["patient.png", "tasks.png", "versions.png"]
    lines = (tmp_path / "runs" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 3 + 3 + 4 * 3 + 3
    assert len({json.dumps(json.loads(line)["key"]) for line in lines}) == len(lines)
    monkeypatch.setattr(brain_features, "train", lambda *given: pytest.fail("trained again"))
    monkeypatch.setattr(brain_features, "ratios", lambda *given: pytest.fail("measured again"))
    call(tiny_brains, tmp_path)
    assert (tmp_path / "table.md").read_text() == text


def test_missing_weights_and_data_are_said_in_a_line(tiny_brains, data, tmp_path, monkeypatch):
    bare = make_tiny_brains(tmp_path)
    (bare / "models" / "model.pt").unlink()
    with pytest.raises(SystemExit, match="the weights are missing"):
        call(bare, tmp_path)
    (data / "ms_multicontrast" / PATIENT / "t2.nii.gz").unlink()
    with pytest.raises(SystemExit, match=r"t2\.nii\.gz: expected a scan, got none there"):
        call(tiny_brains, tmp_path)
    monkeypatch.delenv("MEDKIT_DATA")
    with pytest.raises(SystemExit, match="MEDKIT_DATA"):
        call(tiny_brains, tmp_path / "again")
    assert not (tmp_path / "table.md").exists()


def test_a_bundle_without_features_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="expected a network that gives its features"):
        call("hippocampus_segmentation_unet", tmp_path)


def test_sources_differ_in_what_they_know(tiny_brains):
    bundle, image = medkit.load(tiny_brains), torch.rand(1, 1, 32, 32, 32)
    found, again = sources(bundle), sources(bundle)
    with torch.no_grad():
        maps = {name: source.features(image) for name, source in found.items()}
        assert torch.equal(again[UNTRAINED].features(image), maps[UNTRAINED])
    assert torch.equal(maps[INTENSITIES], to_blocks(image, 2))
    assert maps[BUNDLE].shape == maps[UNTRAINED].shape == (1, 8, 16, 16, 16)
    assert not torch.allclose(maps[BUNDLE], maps[UNTRAINED], atol=1e-2)


def test_an_example_has_what_its_tasks_want(data):
    maps = LabelMaps(find_bundle(NAME))
    assert len(maps.of_fold(0)) == 3
    found, same = (
        example(maps.of_fold(0)[0], torch.Generator().manual_seed(4), (32, 32, 32), maps) for _ in range(2)
    )
    assert set(found.pairs) == {SYNTHESIS, SEGMENTATION, BIAS, RESOLUTION}
    for task, (image, wanted) in found.pairs.items():
        assert image.shape == wanted.shape == (1, 1, 32, 32, 32)
        assert torch.equal(same.pairs[task][0], image)
    assert {1, 2, 19, 20} <= set(found.classes.unique().tolist()), "left and right matter and cortex"
    assert torch.equal(found.pairs[SEGMENTATION][1][0, 0], found.classes)
    assert found.inside[found.classes > 0].all()
    assert abs(float(found.pairs[BIAS][1][0, 0][found.inside].mean())) < 1e-5
    t1 = found.pairs[SYNTHESIS][1][0, 0]
    white, grey = (
        t1[torch.isin(found.classes, torch.tensor(values))].mean() for values in ([1, 19], [2, 20])
    )
    assert white > grey
    dull, sharp = found.pairs[RESOLUTION]
    steps = [float((part - part.roll(1, axis)).abs().mean()) for axis in (2, 3, 4) for part in (dull, sharp)]
    assert min(steps[0] / steps[1], steps[2] / steps[3], steps[4] / steps[5]) < 0.8, "thick along one axis"
