"""A training item from a label map: image, classes in the network's order, and the same again from the same seed."""

from __future__ import annotations

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain import brain_generator, intra_subject_brain_generator
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.generator import Generator
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.real_image import RealImage
from medkit.transforms.synthesis.synthesised import Synthesised
from tests.head_phantom import head

CLASSES = brain_scheme().targets
SIZE = (24, 28, 26)


def item(generator, seed=3, **more):
    transform = Synthesised("label", generator, CLASSES)
    transform.set_random_state(seed=seed)
    return transform({"label": head()[0], "case": "head", **more})


def test_an_image_and_its_classes():
    made = item(brain_generator(SIZE))
    assert made["image"].shape == made["label"].shape == (1, *SIZE)
    assert made["image"].dtype == torch.float32
    assert made["label"].dtype == torch.uint8
    assert made["case"] == "head"


def test_classes_are_numbers_in_the_order_given():
    """Without steps that move it, the map comes back."""
    scheme = brain_scheme()
    made = item(Generator(scheme, [Intensities(scheme)]))
    labels = head()[0]
    for value in (2, 3, 16, 24, 41, 53):
        assert torch.equal(made["label"] == CLASSES.index(value), labels == value)
    assert torch.equal(made["label"] == 0, torch.isin(labels, torch.tensor([0, 507, 511, 515])))


def test_several_values_are_one_class():
    scheme = brain_scheme()
    tissue = [value for value in CLASSES if value not in (0, 24)]
    transform = Synthesised("label", Generator(scheme, [Intensities(scheme)]), [0, tissue, 24])
    made, labels = transform({"label": head()[0]}), head()[0]
    assert torch.equal(made["label"] == 1, torch.isin(labels, torch.tensor(tissue)))
    assert torch.equal(made["label"] == 2, labels == 24)


def test_the_seed_decides():
    one, same, other = (item(brain_generator(SIZE), seed) for seed in (3, 3, 4))
    assert torch.equal(one["image"], same["image"])
    assert torch.equal(one["label"], same["label"])
    assert not torch.equal(one["image"], other["image"])


def test_versions_of_one_head_are_channels():
    made = item(intra_subject_brain_generator(SIZE))
    assert made["image"].shape == (4, *SIZE)
    assert made["label"].shape == (1, *SIZE)


def test_a_real_scan_is_mixed_in():
    scheme = brain_scheme()
    generator = Generator(
        scheme, [Intensities(scheme), RealImage(probability=1, weight=(1, 1), low=0, high=100)]
    )
    scan = torch.rand(1, *head().shape[2:])
    scan = (scan - scan.min()) / (scan.max() - scan.min())
    torch.testing.assert_close(item(generator, image=scan)["image"], scan)


@pytest.mark.parametrize("classes", [CLASSES[1:], (*CLASSES, 7), (*CLASSES, 99)])
def test_classes_that_are_not_those_of_the_generator(classes):
    with pytest.raises(
        UsageError, match="classes: expected each value that the generator's labels are made of once"
    ):
        Synthesised("label", brain_generator(SIZE), classes)


def test_two_keys():
    with pytest.raises(UsageError, match=r"keys: expected one, of the label map, got \['a', 'b'\]"):
        Synthesised(["a", "b"], brain_generator(SIZE), CLASSES)
