"""A label map and a scan are known again by size and values alone."""

from __future__ import annotations

import hashlib

import pytest
import torch

from medkit.transforms.synthesis import source_digest
from medkit.transforms.synthesis.sample import Sample
from medkit.transforms.synthesis.source_digest import source_digests
from tests.head_phantom import head
from tests.transforms.synthesis.drawn import rng

LABELS = head()[0, 0]
HIGHEST = 530


def labels_digest(labels, highest=HIGHEST):
    return source_digests(Sample(labels), highest)["labels"]


def test_what_is_told():
    expected = hashlib.sha256(LABELS.to(torch.int16).numpy()).hexdigest()
    assert source_digests(Sample(LABELS), HIGHEST) == {
        "labels": {"size": [40, 48, 44], "sha256": expected},
        "real": None,
    }
    real = torch.rand(LABELS.shape, generator=rng())
    told = source_digests(Sample(LABELS, real=real), HIGHEST)["real"]
    assert told == {"size": [40, 48, 44], "sha256": hashlib.sha256(real.numpy()).hexdigest()}


def test_large_values_are_not_cut():
    one, other = LABELS + 70_000, LABELS + 70_000 - 2**16
    assert torch.equal(one.to(torch.int16), other.to(torch.int16))
    assert labels_digest(one, 70_530) != labels_digest(other, 70_530)


@pytest.mark.parametrize("slab", [1000, 40 * 48 * 44, 1 << 20])
def test_parts_that_are_hashed_at_a_time_do_not_matter(slab, monkeypatch):
    expected = labels_digest(LABELS)
    monkeypatch.setattr(source_digest, "_SLAB", slab)
    assert labels_digest(LABELS) == expected


def test_how_a_map_lies_in_memory_does_not_matter():
    assert labels_digest(LABELS.mT.contiguous().mT) == labels_digest(LABELS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu():
    assert labels_digest(LABELS.cuda()) == labels_digest(LABELS)
