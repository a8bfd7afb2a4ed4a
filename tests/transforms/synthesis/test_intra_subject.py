"""Versions of one head share its anatomy and nothing else."""

from __future__ import annotations

import json

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain import brain_generator, intra_subject_brain_generator
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.deformation import Deformation
from medkit.transforms.synthesis.generator import Generator
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.intra_subject import IntraSubjectGenerator
from medkit.transforms.synthesis.lesions import Lesions
from medkit.transforms.synthesis.mirroring import Mirroring
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import rng

SIZE = (24, 28, 26)
SCHEME = brain_scheme()
BATCH = head().expand(2, -1, -1, -1, -1)


def test_what_comes_out():
    found = intra_subject_brain_generator(SIZE)(BATCH, rng())
    assert found.image.shape == (2, 4, *SIZE)
    assert found.labels.shape == found.lesions.shape == (2, 1, *SIZE)
    assert found.image.min() >= 0
    assert found.image.max() <= 1
    assert [len(entry["versions"]) for entry in found.record] == [4, 4]


def test_all_versions_are_of_one_anatomy():
    """Without noise each tissue has one intensity in each version, wherever it has one in the others."""
    plain = [Intensities(SCHEME, std=(0, 0), blend_probability=0.0)]
    anatomy = [Deformation(SIZE), Mirroring(SCHEME)]
    generator = IntraSubjectGenerator(SCHEME, anatomy, plain, plain)
    found = generator(BATCH, rng(2))
    for images, record, made in zip(found.image, found.record, found.labels, strict=True):
        one = {
            "labels": record["labels"],
            "real": None,
            "steps": [*record["anatomy"], *record["versions"][1]],
        }
        again = Generator(SCHEME, [*anatomy, *plain]).replay(head(), [one])
        assert torch.equal(again.image[0, 0], images[1])
        assert torch.equal(again.labels[0], made)
        for value in (2, 41, 16, 17, 53):
            assert all(len(image[made[0] == value].unique()) == 1 for image in images)
        for one in range(4):
            for other in range(one):
                assert not torch.equal(images[one], images[other])
    assert not torch.equal(found.labels[0], found.labels[1])


def test_lesions_lie_at_one_place():
    plain = [Intensities(SCHEME, std=(0, 0), blend_probability=0.0, dark_background=1.0)]
    generator = IntraSubjectGenerator(SCHEME, [Lesions(SCHEME, probability=1.0, number=(1, 1))], plain, plain)
    found = generator(head(), rng(1))
    lesion = found.lesions[0, 0] == 1
    assert lesion.any()
    for image in found.image[0]:
        assert len(image[lesion].unique()) == 1
        assert image[lesion][0] != image[(head()[0, 0] == 2) & (found.lesions[0, 0] == 0)][0]


def test_severe_versions_are_worse():
    found = intra_subject_brain_generator(SIZE, 6, 6)(BATCH, rng(4))
    for entry in found.record:
        faults = [
            next(step for step in version if step["step"] == "BiasField") for version in entry["versions"]
        ]
        strengths = [fault["parameters"]["std"] for fault in faults]
        assert max(strengths[:6]) <= 0.2 < max(strengths[6:])


@pytest.mark.parametrize("seed", range(3))
def test_a_record_from_json_makes_the_same_again(seed):
    generator = intra_subject_brain_generator(SIZE)
    found = generator(BATCH, rng(seed))
    again = generator.replay(BATCH, json.loads(json.dumps(found.record)))
    assert torch.equal(again.image, found.image)
    assert torch.equal(again.labels, found.labels)
    assert again.record == found.record


@pytest.mark.parametrize(("mild", "severe"), [(0, 0), (-1, 2)])
def test_no_version_is_refused(mild, severe):
    with pytest.raises(UsageError, match="expected at least one version of each head"):
        intra_subject_brain_generator(SIZE, mild, severe)


def test_versions_that_change_the_labels_are_refused():
    change = [Intensities(SCHEME), Mirroring(SCHEME, 1.0)]
    with pytest.raises(UsageError, match="expected versions that leave the labels as they are"):
        IntraSubjectGenerator(SCHEME, [], change, change)(head(), rng())


def test_a_record_of_something_else_is_refused():
    generator = intra_subject_brain_generator(SIZE)
    record = intra_subject_brain_generator(SIZE, 1, 1)(head(), rng()).record
    with pytest.raises(UsageError, match="record: expected an anatomy and 4 versions, got 2 versions"):
        generator.replay(head(), record)
    other = brain_generator(SIZE)(head(), rng()).record
    with pytest.raises(UsageError, match=r"record: expected an anatomy and 4 versions, got \['steps'\]"):
        generator.replay(head(), other)


def test_another_label_map_is_refused():
    generator = intra_subject_brain_generator(SIZE)
    record = generator(BATCH, rng()).record
    with pytest.raises(
        UsageError, match="labels: expected the label map that head 1 of the record was made from"
    ):
        generator.replay(torch.cat([head(), head().flip(2)]), record)
