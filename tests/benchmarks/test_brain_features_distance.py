"""Distances of features: nothing where they are the anatomy alone, as far as others' where they are the contrast."""

from __future__ import annotations

import math

import pytest
import torch
from brain_features_distance import (
    OTHER_PLACE,
    SAME_PLACE,
    SAME_STRUCTURE,
    WITHIN,
    Person,
    at_same_place,
    distance,
    in_same_structure,
    ratios,
    some_places,
    standardised,
    structures_of_blocks,
    within,
)

PLACES, CHANNELS, VERSIONS = 600, 5, 4


def people(anatomy: float, contrast: float, noise: float = 0.0) -> list[Person]:
    """Three persons with features of their own, of each version's, and of neither, in given parts."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for _ in range(3):
        own = torch.randn(1, CHANNELS, PLACES, generator=rng)
        versions = torch.randn(VERSIONS, CHANNELS, 1, generator=rng)
        chance = torch.randn(VERSIONS, CHANNELS, PLACES, generator=rng)
        structures = torch.randint(0, 4, (PLACES,), generator=rng).expand(VERSIONS, -1)
        found.append(Person(anatomy * own + contrast * versions + noise * chance, structures))
    return found


def measured(**parts: float) -> dict[str, list[float]]:
    return ratios(people(**parts), [0, 1, 2], torch.Generator().manual_seed(0))


def test_features_of_the_anatomy_alone_are_perfect():
    found = measured(anatomy=1, contrast=0)
    assert all(value == 0 for values in found.values() for value in values)
    assert set(found) == {WITHIN, OTHER_PLACE, SAME_PLACE, SAME_STRUCTURE}
    assert all(len(values) == 3 for values in found.values())


def test_features_that_are_noise_are_of_no_use():
    found = measured(anatomy=0, contrast=0, noise=1)
    for kind in (SAME_PLACE, SAME_STRUCTURE):
        assert found[kind] == pytest.approx([1] * 3, abs=0.05)


def test_more_contrast_is_worse():
    little, much = measured(anatomy=1, contrast=0.2), measured(anatomy=1, contrast=1)
    for kind in (SAME_PLACE, SAME_STRUCTURE):
        assert max(little[kind]) < min(much[kind])


def test_what_tells_places_apart_is_told_from_what_tells_persons_apart():
    """Where a place alone differs the ratios are alike; where all of a person is one, its places lie near each other."""
    found = measured(anatomy=1, contrast=0, noise=0.5)
    assert found[OTHER_PLACE] == pytest.approx(found[SAME_STRUCTURE], rel=0.1)
    persons = [
        Person(person.features[..., :1] + 0.1 * person.features, person.structures)
        for person in people(anatomy=1, contrast=0, noise=0.1)
    ]
    found = ratios(persons, [0, 1, 2], torch.Generator().manual_seed(0))
    assert min(found[OTHER_PLACE]) > 2 * max(found[SAME_STRUCTURE])


def test_scale_and_dead_channels_change_nothing():
    persons = people(anatomy=1, contrast=0.5)
    changed = [
        Person(torch.cat([1e3 * person.features + 7, torch.zeros(VERSIONS, 1, PLACES)], 1), person.structures)
        for person in persons
    ]
    rng = torch.Generator().manual_seed(0)
    found = ratios(changed, [0, 1, 2], rng)
    expected = measured(anatomy=1, contrast=0.5)
    for kind, values in expected.items():
        assert found[kind] == pytest.approx(values, rel=1e-3)


def test_heads_of_one_map_are_no_other_persons():
    persons = people(anatomy=1, contrast=0.5)
    found = ratios([*persons[:2], persons[0]], [0, 1, 0], torch.Generator().manual_seed(0))
    alone = at_same_place(*standardised([*persons[:2], persons[0]])[:2])
    assert found[SAME_PLACE][0] == pytest.approx(found[WITHIN][0] / alone)


def test_distances_by_hand():
    one, other = torch.tensor([[0.0, 0], [0, 3]]), torch.tensor([[1.0, 0], [1, 0]])
    assert distance(one, other) == pytest.approx((1 + math.sqrt(4.5)) / 2)
    assert math.isnan(distance(one[:, :0], other[:, :0]))
    person = Person(torch.stack([one, other]), torch.tensor([[1, 1], [1, 0]]))
    assert within(person) == pytest.approx(1), "the second place does not count in one version"


def test_structures_are_matched_and_others_passed_over():
    structures = torch.tensor([[1, 1, 2, 3, 0]])
    one = Person(torch.tensor([[[1.0, 1, 2, 9, 5]]]), structures)
    other = Person(torch.tensor([[[2.0, 1, 0, 0, 2]]]), torch.tensor([[2, 1, 0, 4, 2]]))
    assert in_same_structure(one, other, torch.Generator().manual_seed(0)) == 0


def test_a_place_is_never_another_place_of_its_head():
    """Two places of a structure, one of another, and one that is cut off in the second version."""
    structures = torch.tensor([[1, 2, 1, 3, 3], [1, 2, 1, 3, 0]])
    values = torch.tensor([[[0.0, 5, 1, 2, 4]], [[0.0, 5, 1, 2, 4]]])
    person = Person(values, structures)
    for seed in range(20):
        found = in_same_structure(person, person, torch.Generator().manual_seed(seed))
        # Structure 1 is 1 apart; of 3 the fourth place of the first version has none left in the second.
        assert found == pytest.approx((1 + 1 + 2) / 3 / 2 + (1 + 1 + 2) / 3 / 2)


def test_blocks_of_one_structure_count():
    classes = torch.zeros(4, 2, 3, dtype=torch.long)
    classes[:2, :, :2], classes[2:, :, :2], classes[3, 0, 0], classes[:, :, 2] = 5, 6, 7, 8
    assert structures_of_blocks(classes, 2).tolist() == [[[5, 8]], [[0, 8]]]
    assert torch.equal(structures_of_blocks(classes, 1), classes)


def test_places_are_few_and_the_same_again():
    found = [some_places(10**5, torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(*found)
    assert len(found[0].unique()) == 20_000
    assert some_places(7, torch.Generator()).tolist() == list(range(7))


def test_heads_that_share_no_structure_are_refused():
    one, other = (Person(torch.zeros(1, 2, 3), torch.full((1, 3), value)) for value in (1, 2))
    with pytest.raises(SystemExit, match="expected places of one structure in both heads, got none"):
        in_same_structure(one, other, torch.Generator())
