"""Several images of one head: the anatomy shared, the contrast and the faults their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.generator import BatchGenerator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.sample import Sample
    from medkit.transforms.synthesis.step import Step

__all__ = ["IntraSubjectGenerator"]

Drawn = tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...]]


class IntraSubjectGenerator(BatchGenerator[Drawn]):
    """Versions of each head, mild ones first, that share place, shape, side and lesions, as Brain-ID learns from.

    What is the same in all of them is the anatomy (Liu et al. 2024, https://arxiv.org/abs/2311.16914).

    Args:
        scheme: what the values of the label maps mean.
        anatomy: steps that all versions share; they make no image.
        mild: steps that make a version that is easy to read; they leave the labels.
        severe: steps that make one that is not; they leave the labels.
        mild_versions: so many of each head.
        severe_versions: so many of each head.

    Raises:
        UsageError: no version at all.
    """

    def __init__(
        self,
        scheme: LabelScheme,
        anatomy: Sequence[Step[Any]],
        mild: Sequence[Step[Any]],
        severe: Sequence[Step[Any]],
        mild_versions: int = 2,
        severe_versions: int = 2,
    ) -> None:
        super().__init__(scheme)
        if min(mild_versions, severe_versions) < 0 or mild_versions + severe_versions == 0:
            raise UsageError(
                f"expected at least one version of each head, got {mild_versions} mild and {severe_versions} severe; "
                "correct their numbers"
            )
        self.anatomy = Chain(anatomy)
        self.versions = [Chain(mild)] * mild_versions + [Chain(severe)] * severe_versions

    def _draw(self, rng: torch.Generator) -> Drawn:
        return self.anatomy.draw(rng), tuple(version.draw(rng) for version in self.versions)

    def _record(self, parameters: Drawn) -> dict[str, Any]:
        anatomy, versions = parameters
        told = [chain.record(drawn) for chain, drawn in zip(self.versions, versions, strict=True)]
        return {"anatomy": self.anatomy.record(anatomy), "versions": told}

    def _parameters_from(self, record: Mapping[str, Any]) -> Drawn:
        known = set(record) == {"anatomy", "versions"}
        if not known or len(record["versions"]) != len(self.versions):
            got = f"{len(record['versions'])} versions" if known else sorted(record)
            raise UsageError(
                f"record: expected an anatomy and {len(self.versions)} versions, got {got}; replay it with the steps "
                "that made it"
            )
        told = zip(self.versions, record["versions"], strict=True)
        return self.anatomy.parameters_from(record["anatomy"]), tuple(
            version.parameters_from(entry) for version, entry in told
        )

    def _make(self, sample: Sample, parameters: Drawn) -> tuple[Sample, list[Tensor]]:
        anatomy, versions = parameters
        head = self.anatomy.apply(sample, anatomy)
        return head, [_image(head, *each) for each in zip(self.versions, versions, strict=True)]


def _image(head: Sample, version: Chain, parameters: tuple[Any, ...]) -> Tensor:
    made = version.apply(head, parameters)
    if made.labels is not head.labels:
        raise UsageError(
            "expected versions that leave the labels as they are, got steps that change them; put those steps into the "
            "anatomy, or leave them out"
        )
    return made.needed_image
