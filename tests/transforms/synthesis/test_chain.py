"""Steps in order, with a record by name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.deformation import Deformation
from medkit.transforms.synthesis.gamma import Gamma
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise
from medkit.transforms.synthesis.label_scheme import LabelScheme
from medkit.transforms.synthesis.lesions import Lesions
from medkit.transforms.synthesis.mirroring import Mirroring
from medkit.transforms.synthesis.normalisation import Normalisation
from medkit.transforms.synthesis.real_image import RealImage
from medkit.transforms.synthesis.skull_stripping import SkullStripping
from tests.transforms.synthesis.drawn import assert_recorded, phantom, rng

SCHEME = brain_scheme()
OTHER = LabelScheme([*SCHEME.structures][::-1])


def test_steps_are_applied_in_order():
    chain = Chain([Gamma(), KSpaceNoise(1.0)])
    drawn = chain.draw(rng())
    sample = phantom()
    expected = KSpaceNoise().apply(Gamma().apply(sample, drawn[0]), drawn[1])
    assert torch.equal(chain.apply(sample, drawn).image, expected.image)
    assert not torch.equal(expected.image, sample.image)


def test_no_steps_change_nothing():
    sample = phantom()
    assert Chain([]).apply(sample, Chain([]).draw(rng())) is sample


def test_the_record_names_the_steps():
    chain = Chain([Gamma(), KSpaceNoise()])
    drawn = chain.draw(rng())
    assert [entry["step"] for entry in chain.record(drawn)] == ["Gamma", "KSpaceNoise"]
    assert_recorded(chain, drawn)


@pytest.mark.parametrize(
    ("made", "other"),
    [
        (Normalisation(), Normalisation(low=2.0)),
        (RealImage(), RealImage(high=90.0)),
        (Deformation(), Deformation(labels="vote")),
        (Deformation(), Deformation(centred_by=SCHEME)),
        (Lesions(SCHEME), Lesions(SCHEME, hosts=["cortex"])),
        (Mirroring(SCHEME), Mirroring(OTHER)),
        (SkullStripping(SCHEME), SkullStripping(OTHER)),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_record_of_steps_that_were_set_up_in_another_way_is_refused(made, other):
    drawn = Chain([made]).draw(rng())
    record = json.loads(json.dumps(Chain([made]).record(drawn)))
    assert Chain([made]).parameters_from(record) == drawn
    with pytest.raises(UsageError, match=f"record of {type(made).__name__}: expected one that was made with"):
        Chain([other]).parameters_from(record)


def test_what_is_applied_is_told_by_parameters_and_settings():
    """Two steps of the same settings, from other ranges, make the same of the same parameters."""
    one, other = Deformation((20, 20, 20)), Deformation((20, 20, 20), rotation=(0.0, 0.0), points=(4, 5))
    assert one.settings == other.settings
    drawn = one.draw(rng())
    sample = replace(phantom(), image=None)
    assert torch.equal(one.apply(sample, drawn).labels, other.apply(sample, drawn).labels)


@pytest.mark.parametrize("steps", [[], [KSpaceNoise()], [KSpaceNoise(), Gamma()]])
def test_a_record_of_other_steps_is_refused(steps):
    chain = Chain([Gamma(), KSpaceNoise()])
    record = Chain(steps).record(Chain(steps).draw(rng()))
    with pytest.raises(UsageError, match=r"expected the steps \['Gamma', 'KSpaceNoise'\], got \["):
        chain.parameters_from(record)
