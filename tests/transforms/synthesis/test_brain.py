"""The generators of brain images, on the phantom and on a real label map."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from medkit.transforms.synthesis.acquisition import Acquisition, AcquisitionParameters
from medkit.transforms.synthesis.bias_field import BiasField
from medkit.transforms.synthesis.brain import brain_generator, intra_subject_brain_generator
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.deformation import Deformation
from medkit.transforms.synthesis.intensities import Intensities, IntensitiesParameters
from medkit.transforms.synthesis.mirroring import Mirroring
from medkit.transforms.synthesis.resolution import Resolution
from medkit.transforms.synthesis.sample import Sample
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import assert_even, assert_proportion, rng

SIZE = (20, 24, 22)


def of_step(record, name):
    """Parameters of a step in records of heads, or in those of chains of steps."""
    chains = [entry["steps"] if isinstance(entry, dict) else entry for entry in record]
    return [next(step["parameters"] for step in chain if step["step"] == name) for chain in chains]


def test_every_fault_comes_about():
    found = brain_generator(SIZE)(head().expand(200, -1, -1, -1, -1), rng())
    assert_proportion((one["mirrored"] for one in of_step(found.record, "Mirroring")), 0.5)
    assert_proportion((one["stripped"] for one in of_step(found.record, "SkullStripping")), 0.3)
    assert_proportion((bool(one["ranks"]) for one in of_step(found.record, "Lesions")), 0.3)
    assert_proportion((one["weight"] > 0 for one in of_step(found.record, "RealImage")), 0.5)
    assert_proportion((one["exponent"] > 1 for one in of_step(found.record, "Gamma")), 0.5)
    cut = [any(one["below"] + one["above"]) for one in of_step(found.record, "FieldOfView")]
    assert_proportion(cut, 1 - 0.85**3)  # along any of three axes
    assert_even((one["std"] for one in of_step(found.record, "BiasField")), *BiasField().std)
    acquired = of_step(found.record, "Acquisition")
    faults = [one["faults"] for one in acquired]
    assert_proportion((one["std"] > 0 for one in of_step(faults, "KSpaceNoise")), 0.8)
    assert_proportion((one["strength"] > 0 for one in of_step(faults, "Ghosts")), 0.15)
    spacing = [max(axis["spacing"] for axis in one["axes"]) for one in acquired]
    assert min(spacing) == 1
    assert 8 < max(spacing) <= 9
    assert torch.isfinite(found.image).all()
    assert (found.image.flatten(1).std(1) > 0).all()


def test_the_image_reaches_as_far_as_told_and_where_to():
    """Below the brain, and a little to the right of it: there its middle lies."""
    still = {"rotation": (0.0, 0.0, 0.0), "scaling": (1.0, 1.0, 1.0), "shearing": (0.0, 0.0, 0.0)}
    generator = brain_generator((40, 48, 44), reach=[(4, 4), (0, 0), (-10, -10)])
    where = generator.steps.steps[0]
    parameters = replace(where.draw(rng()), **still, displacement=0.0)
    start = head()[0, 0]
    moved = where.apply(Sample(start), parameters).labels
    stem = (
        brain_scheme().tissue_mask(start, ["brain-stem"]),
        brain_scheme().tissue_mask(moved, ["brain-stem"]),
    )
    assert (middle(stem[1]) - middle(stem[0])).round().tolist() == [-4, 0, 10]
    drawn = [brain_generator(SIZE, 30.0).steps.steps[0].draw(rng(seed)) for seed in range(100)]
    found = torch.tensor([one.translation for one in drawn])
    assert -30 <= found.min() < -25
    assert 25 < found.max() <= 30


@pytest.mark.parametrize("probability", [0.0, 0.6, 1.0])
def test_as_many_images_are_fine_as_told(probability):
    acquisition = next(
        step
        for step in brain_generator(SIZE, fine_probability=probability).steps.steps
        if isinstance(step, Acquisition)
    )
    source = rng()
    drawn = [all(axis.fine for axis in acquisition.draw(source).axes) for _ in range(1000)]
    assert_proportion(drawn, probability)


def test_a_part_of_the_images_reaches_farther():
    where = brain_generator(SIZE, 10.0, [(-50, 50), (30, 50), (-90, 0)], 0.25).steps.steps[0]
    source = rng()
    drawn = torch.tensor([where.draw(source).translation for _ in range(2000)])
    near = (drawn.abs() <= 10).all(1)
    assert_proportion(near.tolist(), 0.75)  # to the front none of the far ones is as near
    # The head moves the other way.
    for axis, (low, high) in enumerate([(-50, 50), (-50, -30), (0, 90)]):
        assert low <= drawn[~near][:, axis].min() < low + 5
        assert high - 5 < drawn[~near][:, axis].max() <= high


def middle(weights):
    """Centre of mass in voxels."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, weights.shape), indexing="ij"), -1)
    return (weights.double()[..., None] * places).sum((0, 1, 2)) / weights.sum()


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_the_image_lies_where_its_labels_do(axis):
    """One bright tissue, wherever the head is brought to and however thick the slices: half a voxel would be told."""
    scheme, resolution, source = brain_scheme(), Resolution(), rng(1)
    means = tuple(float(name == "white matter") for name in scheme.tissues)
    bright = IntensitiesParameters(means, (0.0,) * len(means), 0.0, 0.0, 0.0, 0)
    anatomy = Chain(
        [Deformation(centred_by=scheme, scaling=(0.8, 1.0), translation=(-4, 4)), Mirroring(scheme)]
    )
    start, shifts = Sample(head((56, 68, 62))[0, 0]), []
    for _ in range(24):
        sample = Intensities(scheme).apply(anatomy.apply(start, anatomy.draw(source)), bright)
        axes = list(resolution.draw(source))
        if axis is not None:
            axes[axis] = replace(axes[axis], spacing=9.0, thickness=9.0)
        acquired = AcquisitionParameters((axes[0], axes[1], axes[2]), ())
        image = Acquisition(resolution).apply(sample, acquired).image
        shifts.append(middle(image) - middle(scheme.tissue_mask(sample.labels, ["white matter"])))
    assert torch.stack(shifts).mean(0).abs().max() < 0.15
    assert torch.stack(shifts).abs().max() < 1


@pytest.mark.parametrize("number", [3, 7])
def test_a_real_map(real_data, number):
    path = real_data / "brain_label_maps" / f"training_seg_{number:02d}.nii.gz"
    volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    labels = torch.from_numpy(volume.astype(np.int32))[None, None]
    generator = brain_generator((96, 96, 96))
    found = generator(labels, rng(number))
    again = generator.replay(labels, json.loads(json.dumps(found.record)))
    assert torch.equal(found.image, again.image)
    assert torch.equal(found.labels, again.labels)
    learned = {structure.target for structure in brain_scheme().structures}
    present = set(found.labels.unique().tolist())
    assert present <= learned
    assert {2, 3, 41, 42, 16, 10, 49} <= present, "the box lies about the brain"


def test_versions_of_a_real_map(real_data):
    path = real_data / "brain_label_maps" / "training_seg_10.nii.gz"
    volume = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
    labels = torch.from_numpy(volume.astype(np.int32))[None, None]
    found = intra_subject_brain_generator((64, 64, 64))(labels, rng())
    assert found.image.shape == (1, 4, 64, 64, 64)
    assert torch.isfinite(found.image).all()
    spread = found.image.flatten(2).std(2)[0]
    assert (spread > 0.02).all()
