"""Samples of the brain bundle's fine-tuning: labels stay on what they name, and sides where they belong."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms.lazy import functional
from monai.transforms.lazy.utils import resample

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import bundles_root, find_bundle
from medkit.data.keyed import KeyedDataset
from tests.head_phantom import head

NAME = "brain_anatomy_segmentation"
# FreeSurfer's values in the phantom to those of DLMUSE; the rest is air and what lies around the brain.
DLMUSE = {3: 101, 42: 100, 2: 82, 41: 81, 4: 52, 43: 51, 10: 60, 49: 59, 17: 48, 53: 47, 16: 35, 24: 1}
BRIGHTNESS = {
    101: 90,
    100: 100,
    82: 140,
    81: 150,
    52: 20,
    51: 30,
    60: 110,
    59: 120,
    48: 60,
    47: 70,
    35: 130,
    1: 10,
}
PLAIN = {f"{step}::prob": 0.0 for step in ("contrast", "brightness", "thick_slices", "noise")}
DRAWS = 6


@pytest.fixture
def item(tmp_path: Path) -> dict[str, str]:
    """A phantom of 2 mm whose axes run to the back, up and to the right, as those of the real scans do."""
    labels = np.vectorize(lambda value: DLMUSE.get(value, 0))(head((60, 72, 64))[0, 0].numpy()).astype(
        np.uint8
    )
    image = np.vectorize(lambda value: BRIGHTNESS.get(value, 0))(labels).astype(np.uint8)
    paths = {}
    for name, array in (("image", image), ("label", labels)):
        affine = np.array([[0, 0, 2, -60], [-2, 0, 0, 70], [0, 2, 0, -60], [0, 0, 0, 1]])
        scan = nib.Nifti1Image(array.transpose(1, 2, 0)[::-1], affine)
        scan.header.set_xyzt_units("mm")
        nib.save(scan, tmp_path / f"{name}.nii.gz")
        paths[name] = str(tmp_path / f"{name}.nii.gz")
    return {"case": "phantom", **paths}


def config(item: dict[str, str], **overrides: object) -> ConfigInstance:
    made = ConfigInstance(find_bundle(NAME), "fine_tuning", overrides)
    made.parser.update({"real_items": [item], "synthetic_items": [], "held_out_items": []})
    return made


def draws(made: ConfigInstance) -> list[dict[str, torch.Tensor]]:
    samples = KeyedDataset(made.build("train::dataset"), made.build("augmentation"), seed=3)
    return [samples[draw, 0] for draw in range(DRAWS)]


def within_a_structure(label: torch.Tensor) -> torch.Tensor:
    """Brain voxels two or more away from any other label."""
    highest = torch.nn.functional.max_pool3d(label[None].float(), 5, 1, 2)[0]
    lowest = -torch.nn.functional.max_pool3d(-label[None].float(), 5, 1, 2)[0]
    return (highest == lowest) & (label > 0) & (label < 33)


def test_labels_are_those_of_the_voxels_that_they_lie_on(item):
    made = config(item, **PLAIN)
    sets = made.build("label_sets")
    brightness = torch.zeros(len(sets.sets))
    for value, number in zip(sets.values, sets.numbers(np.array(sets.values)), strict=True):
        brightness[number] = BRIGHTNESS.get(value, brightness[number].item())
    mirrored = brightness.clone()
    for left, right in sets.pairs:
        mirrored[[left, right]] = brightness[[right, left]]
    held, found = set(sets.numbers(np.array([0, *DLMUSE.values()])).tolist()), []
    for sample in draws(made):
        image, label = sample["image"], sample["label"]
        assert image.shape == label.shape == (1, 96, 96, 96)
        assert (image.dtype, label.dtype) == (torch.float32, torch.uint8)
        assert 0 <= image.min() < image.max() <= 1
        assert set(label.unique().tolist()) <= held, "labels are never mixed"
        inside = within_a_structure(label)
        wrong = [
            (image * 150 - table[label.long()])[inside].abs().gt(3).float().mean().item()
            for table in (brightness, mirrored)
        ]
        found.append(int(np.argmin(wrong)))
        assert min(wrong) < 0.02
        assert max(wrong) > 0.2
    assert set(found) == {0, 1}, "some are mirrored, and some are not"


@pytest.mark.parametrize("zoom", [0.3, 0.35, 0.5, 0.6, 0.75, 0.9])
def test_thicker_slices_show_a_structure_where_its_label_is(zoom):
    places = torch.stack(torch.meshgrid(*[torch.arange(96.0)] * 3, indexing="ij"))
    middle = torch.tensor([40.0, 52.0, 47.0]).view(3, 1, 1, 1)
    blob = (-(places - middle).square().sum(0) / 200).exp()
    made = ConfigInstance(
        find_bundle(NAME),
        "fine_tuning",
        {"thick_slices::prob": 1.0, "thick_slices::zoom_range": [zoom, zoom]},
    )
    seen = made.build("thick_slices")({"image": blob[None]})["image"][0]
    assert not torch.equal(seen, blob)
    centre = (seen * places).sum((1, 2, 3)) / seen.sum()
    assert (centre - middle.flatten()).abs().max() < 0.1


def test_left_lies_to_the_left_in_every_sample(item):
    made = config(item)
    sets = made.build("label_sets")
    seen = 0
    for sample in draws(made):
        place = torch.arange(96.0).view(1, -1, 1, 1).expand_as(sample["label"])
        for left, right in sets.pairs:
            sides = [place[sample["label"] == number] for number in (left, right)]
            if min(map(len, sides)) > 100:
                seen += 1
                assert sides[0].mean() < sides[1].mean(), sets.sets[left]
    assert seen > DRAWS


def test_samples_differ_and_can_be_drawn_again(item):
    first, again = draws(config(item)), draws(config(item))
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0]["image"], first[1]["image"])


def test_a_sample_is_one_interpolation(item, monkeypatch):
    """MONAI makes lazy transforms inside of others at once, unless the others say nothing of it."""
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return resample(*arguments, **options)

    monkeypatch.setattr(functional, "resample", counted)
    made = config(item)
    sample = made.build("train::dataset")[0]
    made.build("augmentation").set_random_state(0)(sample)
    assert len(calls) == 2, "one of the image, one of the labels"


def test_held_out_scans_are_seen_as_in_inference():
    made, inference = (
        json.loads((bundles_root() / NAME / "configs" / f"{kind}.json").read_text())
        for kind in ("fine_tuning", "inference")
    )
    for key in (
        "preprocessing",
        "orient",
        "resample",
        "clip_outliers",
        "inferer",
        "to_native_labels",
        "clean_up",
        "network_def",
    ):
        assert made[key] == inference[key], key
    steps = (config["postprocessing"]["transforms"][:2] for config in (made, inference))
    assert next(steps) == next(steps) == ["@to_native_labels", "@clean_up"]


def test_a_third_of_the_samples_is_synthetic_however_few_the_scans(item):
    made = config(item)
    maps = [{"case": f"map {number}", "label": item["label"]} for number in range(8)]
    made.parser.update({"real_items": [item, item], "synthetic_items": maps})
    drawn = made.build("train::dataset::data")
    assert sum("image" not in one for one in drawn) * 3 == len(drawn) > 0


def test_real_scans_give_samples(real_data: Path):
    made = ConfigInstance(find_bundle(NAME), "fine_tuning", {"fold": 0})
    items = made.build("real_items")
    assert len(items) == 48
    assert not {item["case"] for item in items} & {item["case"] for item in made.build("held_out_items")}
    assert len(made.build("synthetic_items")) == 8
    (first, *_), sets = draws(config(items[0])), made.build("label_sets")
    assert set(first["label"].unique().tolist()) <= set(range(len(sets.sets)))
    assert len(first["label"].unique()) > 10
