"""The page of the generator shows what works, on a phantom, and the values that the generator takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medkit.bundle.store import find_bundle
from medkit.data import read_volume
from medkit.transforms.synthesis.brain_labels import brain_scheme
from tests.head_phantom import head
from tests.test_readme import ROOT, blocks

PAGE = "docs/generator.md"
CLASSES = json.loads(find_bundle("brain_anatomy_segmentation").config_path("train").read_text())["classes"]


def save(path: str, array: np.ndarray, spacing: float) -> None:
    """Write an array with the axes to the right, front and up as a file whose axes are others."""
    image = nib.Nifti1Image(array, np.diag([spacing, spacing, spacing, 1]))
    image.header.set_xyzt_units("mm")
    turned = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PIL")
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(turned), path)


@pytest.fixture
def made(tmp_path, monkeypatch) -> dict:
    """All that the page's blocks make, one after the other."""
    monkeypatch.chdir(tmp_path)
    phantom = head()[0, 0].numpy()
    numbered = np.vectorize(lambda value: CLASSES.index(value) if value in CLASSES else 0)(phantom)
    save("labels.nii.gz", phantom.astype(np.int16), 2.0)
    save("fine.nii.gz", phantom.astype(np.int16), 1.0)
    save("results/labels/scan.nii.gz", numbered.astype(np.uint8), 1.0)
    found: dict = {}
    shown = blocks(PAGE, "python")
    assert len(shown) == 7
    for number, block in enumerate(shown):
        exec(compile(block, f"{PAGE}, block {number}", "exec"), found)
        if number == 0:
            found["read_in"] = found["labels"].clone()
    return found


def test_what_is_shown_works(made):
    a_file_becomes_what_the_generator_takes(made)
    size = made["size"]
    assert (
        made["made"].image.shape == made["made"].labels.shape == made["made"].lesions.shape == (1, 1, *size)
    )
    image, labels = read_volume(Path("image.nii.gz")), read_volume(Path("image_labels.nii.gz"))
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array, made["made"].image[0, 0])
    assert np.array_equal(labels.array, made["made"].labels[0, 0])
    assert image.grid.spacing == pytest.approx((1, 1, 1))
    assert nib.affines.apply_affine(image.grid.affine, [31.5] * 3) == pytest.approx([0, 0, 0])
    assert torch.equal(made["again"].image, made["made"].image)
    assert made["versions"].image.shape == (1, 3, *size)
    assert made["versions"].labels.shape == (1, 1, *size)
    assert {2, 41, 17, 53, 16} <= set(made["from_bundle"].labels.unique().tolist())
    learned = set(made["with_tumour"].labels.unique().tolist())
    assert 600 in learned
    assert learned <= set(made["scheme"].targets)


def a_file_becomes_what_the_generator_takes(made: dict) -> None:
    labels, phantom = made["read_in"], head()
    assert labels.dtype == torch.int32
    assert set(labels.unique().tolist()) == set(phantom.unique().tolist())
    inside = phantom[0, 0].nonzero()
    low, high = inside.amin(0).tolist(), (inside.amax(0) + 1).tolist()
    cropped = phantom[0, 0][tuple(slice(*ends) for ends in zip(low, high, strict=True))]
    assert torch.equal(made["labels_of"]("fine.nii.gz")[0, 0], cropped)
    for length, once in zip(labels.shape[2:], cropped.shape, strict=True):
        assert abs(length - 2 * once) <= 2


def test_the_tables_hold_the_scheme():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    paired = re.findall(r"^\| (\d+) \| (\d+) \| (.+?) \| ([\d, ]*?) *\|$", text, re.MULTILINE)
    alone = re.findall(r"^\| (\d+) \| ([^|]*[a-z][^|]*?) \| (\d*) *\|$", text, re.MULTILINE)
    told = {}
    for left, right, name, learned in paired:
        targets = [int(word) for word in learned.split(", ")] if learned else [int(left), int(right)]
        told[int(left)] = (f"left {name}", targets[0])
        told[int(right)] = (f"right {name}", targets[-1])
    told |= {int(value): (name, int(learned or value)) for value, name, learned in alone}
    assert told == {item.value: (item.name, item.target) for item in brain_scheme().structures}
    assert len(paired) * 2 + len(alone) == len(told)


def test_the_bundles_numbers_are_of_the_names_that_they_have_here():
    bundle = find_bundle("brain_anatomy_segmentation")
    numbered = bundle.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    names = {item.value: item.name for item in brain_scheme().structures}
    assert {str(number): names[value] for number, value in enumerate(CLASSES)} == numbered
