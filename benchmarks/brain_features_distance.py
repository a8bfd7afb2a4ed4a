"""How far features of one place lie apart over contrasts, beside how far those of other places do.

Liu et al. (Brain-ID, https://arxiv.org/abs/2311.16914) ask features to be alike for one subject in all contrasts. A map
that is the same everywhere would be so as well: so the distance is set against that from another person. At the same
place of the grid another person's anatomy is another one; the harder question is the same structure of another person.
Both are other places too, as are those of a structure within one head: what is beyond these is the person's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean

import torch
from torch import Tensor

from medkit.networks.blocks import to_blocks

MOST_PLACES = 20_000
WITHIN, OTHER_PLACE = "within", "another place of the structure in the same head"
SAME_PLACE, SAME_STRUCTURE = "same place", "same structure"


@dataclass(frozen=True)
class Person:
    """Features of one head in several versions, at some places of its grid.

    Args:
        features: ``(V, F, P)``.
        structures: ``(V, P)``, the structure at each place, as each version has it; 0 for a place that does not count.
    """

    features: Tensor
    structures: Tensor

    def counted(self) -> Tensor:
        """``(P,)``: places that count in every version."""
        return (self.structures > 0).all(0)


def structures_of_blocks(classes: Tensor, block: int) -> Tensor:
    """``(D, H, W)`` classes to ``(*ceil(sizes / block))``: the class of blocks that are of one, and else 0."""
    voxels = to_blocks(classes[None, None].float(), block)[0]
    return torch.where((voxels == voxels[:1]).all(0), voxels[0], 0).long()


def some_places(count: int, rng: torch.Generator) -> Tensor:
    """Places of a map of so many, at random and always the same ones."""
    return torch.randperm(count, generator=rng)[:MOST_PLACES].sort().values


def standardised(persons: Sequence[Person]) -> list[Person]:
    """Each channel with mean 0 and standard deviation 1 over all that counts; channels that tell nothing left out."""
    all_of_it = torch.cat(
        [person.features[:, :, person.counted()].transpose(1, 2).flatten(0, 1) for person in persons]
    )
    mean, std = all_of_it.mean(0), all_of_it.std(0)
    kept = std > 1e-6 * max(float(std.max()), 1e-12)
    return [
        Person((person.features[:, kept] - mean[kept, None]) / std[kept, None], person.structures)
        for person in persons
    ]


def distance(one: Tensor, other: Tensor) -> float:
    """Mean over places ``(F, P)`` of the root of the mean square difference over channels; NaN of none."""
    return float((one - other).square().mean(0).sqrt().mean()) if one.shape[1] else float("nan")


def mean_of(distances: Sequence[float]) -> float:
    """Of those that there are."""
    if not (known := [value for value in distances if not math.isnan(value)]):
        raise SystemExit(
            "expected places of one structure in both heads, got none; look at labels and weights"
        )
    return fmean(known)


def within(person: Person) -> float:
    """Over all pairs of versions of one head, at the same places."""
    counted = person.counted()
    pairs = combinations(person.features[:, :, counted], 2)
    return mean_of([distance(one, other) for one, other in pairs])


def at_same_place(one: Person, other: Person) -> float:
    """Over all pairs of different versions of two heads."""
    counted = one.counted() & other.counted()
    pairs = _versions(one, other)
    return mean_of([distance(one.features[a][:, counted], other.features[b][:, counted]) for a, b in pairs])


def in_same_structure(
    one: Person, other: Person, rng: torch.Generator, pairs: Sequence[tuple[int, int]] | None = None
) -> float:
    """Each place of one head beside one, at random, of the same structure of the other, or beside another of its own.

    Args:
        one: whose places are gone through.
        other: with places of the same structures; others are passed over.
        rng: draws them.
        pairs: of versions; by default all of different ones.
    """
    found = []
    for a, b in pairs or _versions(one, other):
        here, there = _matched(one.structures[a], other.structures[b], rng, apart=one is other)
        found.append(distance(one.features[a][:, here], other.features[b][:, there]))
    return mean_of(found)


def _versions(one: Person, other: Person) -> list[tuple[int, int]]:
    """Pairs of different ones; of a single version in each head, these."""
    count = min(len(one.features), len(other.features))
    return list(permutations(range(count), 2)) or [(0, 0)]


def _matched(
    structures: Tensor, others: Tensor, rng: torch.Generator, *, apart: bool
) -> tuple[Tensor, Tensor]:
    here, there = [], []
    for value in structures[structures > 0].unique().tolist():
        (own,), (candidates,) = torch.where(structures == value), torch.where(others == value)
        itself = torch.isin(own, candidates) & apart  # not to be drawn
        own, itself = (found[len(candidates) > itself.long()] for found in (own, itself))
        drawn = (torch.rand(len(own), generator=rng) * (len(candidates) - itself.long())).long()
        drawn += itself & (drawn >= torch.searchsorted(candidates, own))
        here.append(own)
        there.append(candidates[drawn])
    nothing = torch.zeros(0, dtype=torch.long)
    return torch.cat([nothing, *here]), torch.cat([nothing, *there])


def ratios(persons: Sequence[Person], maps: Sequence[int], rng: torch.Generator) -> dict[str, list[float]]:
    """For each head the distance of a place from itself, and parts of that from others: 0 is perfect, 1 no use.

    Args:
        persons: of two maps or more, at the same places.
        maps: the label map that each was made of; heads of one map are no other persons.
        rng: see :func:`in_same_structure`.
    """
    scaled = standardised(persons)
    found: dict[str, list[float]] = {WITHIN: [], OTHER_PLACE: [], SAME_PLACE: [], SAME_STRUCTURE: []}
    for person, own_map in zip(scaled, maps, strict=True):
        others = [other for other, its_map in zip(scaled, maps, strict=True) if its_map != own_map]
        own = within(person)
        there = [at_same_place(person, other) for other in others]
        alike = [in_same_structure(person, other, rng) for other in others]
        found[WITHIN].append(own)
        found[OTHER_PLACE].append(own / in_same_structure(person, person, rng))
        found[SAME_PLACE].append(own / mean_of(there))
        found[SAME_STRUCTURE].append(own / mean_of(alike))
    return found
