"""From label maps to images, labels and a record from which both can be made again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.label_scheme import looked_up
from medkit.transforms.synthesis.sample import Sample
from medkit.transforms.synthesis.source_digest import source_digests

if TYPE_CHECKING:
    from torch import Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.step import Step

__all__ = ["BatchGenerator", "Generated", "Generator"]

Parameters = TypeVar("Parameters")
_SOURCES = {"labels": "label map", "real": "scan"}  # key of a record to what lies behind it


@dataclass(frozen=True)
class Generated:
    """A batch of synthetic heads.

    Args:
        image: ``(B, V, D, H, W)``, float32; ``V`` versions of each head, of which a :class:`Generator` makes one.
        labels: ``(B, 1, D, H, W)``, int32, what a network learns.
        lesions: ``(B, 1, D, H, W)``, float32, the part of each voxel that is lesion.
        record: one entry a head; what JSON can hold. ``labels`` and ``real`` tell of which map and scan it was made
            (:func:`~medkit.transforms.synthesis.source_digest.source_digests`), the rest by which parameters: ``steps``
            of a :class:`Generator`, as :class:`~medkit.transforms.synthesis.chain.Chain` records them.
    """

    image: Tensor
    labels: Tensor
    lesions: Tensor
    record: list[dict[str, Any]]


class BatchGenerator(ABC, Generic[Parameters]):
    """Draws parameters for each head of a batch, and makes one after the other.

    Args:
        scheme: what the values of the label maps mean.
    """

    def __init__(self, scheme: LabelScheme) -> None:
        self.scheme = scheme

    def __call__(self, labels: Tensor, rng: torch.Generator, real: Tensor | None = None) -> Generated:
        """Make images of each label map.

        Args:
            labels: ``(B, 1, D, H, W)``, integers of any type, axes to the right, to the front and up (RAS), at 1 mm. The
                images are made on their device.
            rng: on the CPU; the same state draws the same parameters for every device. The noise of voxels comes from
                seeds among them, and differs from one kind of device to another.
            real: ``(B, 1, D, H, W)``, scans of the same heads on the same grid.

        Raises:
            UsageError: labels of another shape, type or scheme, scans of another shape or that are not finite, something
                else for ``rng``, or steps that make no image.
        """
        _check_rng(rng)
        samples = self._samples(labels, real)
        return self._generated(samples, self._sources(samples), [self._draw(rng) for _ in samples])

    def replay(self, labels: Tensor, record: Sequence[Any], real: Tensor | None = None) -> Generated:
        """Make a batch again, on the same device and with as many threads to the last bit.

        Args:
            labels: the maps that it was made from.
            record: of :class:`Generated`, or the same from JSON.
            real: the scans that were mixed in, if there were.

        Raises:
            UsageError: a record of other steps, of another number of heads, or of other maps or scans.
        """
        samples = self._samples(labels, real)
        if len(record) != len(samples):
            raise UsageError(
                f"expected a record of {len(samples)} heads, one for each label map, got {len(record)}; pass the "
                "labels that the record was made from"
            )
        parameters = [self._parameters_from(_told(entry)) for entry in record]
        sources = self._sources(samples)
        for number, (entry, source) in enumerate(zip(record, sources, strict=True)):
            _check_source(number, entry, source)
        return self._generated(samples, sources, parameters)

    @abstractmethod
    def _draw(self, rng: torch.Generator) -> Parameters:
        """Of one head."""

    @abstractmethod
    def _record(self, parameters: Parameters) -> dict[str, Any]:
        """Of one head."""

    @abstractmethod
    def _parameters_from(self, record: Mapping[str, Any]) -> Parameters:
        """Of one head."""

    @abstractmethod
    def _make(self, sample: Sample, parameters: Parameters) -> tuple[Sample, list[Tensor]]:
        """A head, and all versions of its image."""

    def _sources(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return [source_digests(sample, self.scheme.values[-1]) for sample in samples]

    def _generated(
        self,
        samples: Sequence[Sample],
        sources: Sequence[dict[str, Any]],
        parameters: Sequence[Parameters],
    ) -> Generated:
        # In half precision, as trainings have it, places in a map would be off by a voxel.
        with torch.autocast(samples[0].labels.device.type, enabled=False):
            made = [self._make(sample, drawn) for sample, drawn in zip(samples, parameters, strict=True)]
        labels = torch.stack([head.labels for head, _ in made])[:, None]
        lesions = [
            torch.zeros_like(head.labels, dtype=torch.float32) if head.lesions is None else head.lesions
            for head, _ in made
        ]
        return Generated(
            image=torch.stack([torch.stack(versions) for _, versions in made]),
            labels=looked_up(self.scheme.target_table(labels.device), labels),
            lesions=torch.stack(lesions)[:, None],
            record=[
                {**source, **self._record(drawn)} for source, drawn in zip(sources, parameters, strict=True)
            ],
        )

    def _samples(self, labels: Tensor, real: Tensor | None) -> list[Sample]:
        if not isinstance(labels, torch.Tensor):
            raise UsageError(
                f"labels: expected a tensor (B, 1, D, H, W), got {type(labels).__name__}; make one, such as by "
                "torch.as_tensor"
            )
        if labels.ndim != 5 or labels.shape[1] != 1 or min(labels.shape) < 1:
            raise UsageError(
                f"labels: expected (B, 1, D, H, W), got {tuple(labels.shape)}; add the axes that are missing"
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise UsageError(
                f"labels: expected integers, got {labels.dtype}; round and convert them to int32"
            )
        if real is not None and real.shape != labels.shape:
            raise UsageError(
                f"real: expected scans on the grid of the labels, {tuple(labels.shape)}, got {tuple(real.shape)}; "
                "resample them"
            )
        if real is not None and not bool(torch.isfinite(real).all()):
            raise UsageError("real: expected finite numbers, got NaN or infinity; set them to 0")
        # A map that was turned to RAS is a view; what looks labels up would copy it time and again.
        maps = labels.as_subclass(torch.Tensor).contiguous()
        self.scheme.check(maps)
        maps = maps.to(torch.int32)
        if real is None:
            return [Sample(volume[0]) for volume in maps]
        scans = real.as_subclass(torch.Tensor).to(maps.device, torch.float32).contiguous()
        return [Sample(volume[0], real=scan[0]) for volume, scan in zip(maps, scans, strict=True)]


class Generator(BatchGenerator[tuple[Any, ...]]):
    """One image of each head.

    Args:
        scheme: what the values of the label maps mean.
        steps: in order; one of them makes the image.
    """

    def __init__(self, scheme: LabelScheme, steps: Sequence[Step[Any]]) -> None:
        super().__init__(scheme)
        self.steps = Chain(steps)

    def _draw(self, rng: torch.Generator) -> tuple[Any, ...]:
        return self.steps.draw(rng)

    def _record(self, parameters: tuple[Any, ...]) -> dict[str, Any]:
        return {"steps": self.steps.record(parameters)}

    def _parameters_from(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        return self.steps.parameters_from(record.get("steps"))

    def _make(self, sample: Sample, parameters: tuple[Any, ...]) -> tuple[Sample, list[Tensor]]:
        head = self.steps.apply(sample, parameters)
        return head, [head.needed_image]


def _told(entry: Any) -> dict[str, Any]:
    """A head's record but for what it was made from."""
    if not isinstance(entry, Mapping) or not set(_SOURCES) <= set(entry):
        got = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
        raise UsageError(
            f"record: expected an object a head, with {' and '.join(map(repr, _SOURCES))} of what it was made from, got "
            f"{got}; pass the record of the batch as it was made"
        )
    return {key: told for key, told in entry.items() if key not in _SOURCES}


def _check_source(number: int, entry: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    for key, name in _SOURCES.items():
        if entry[key] != source[key]:
            raise UsageError(
                f"{key}: expected the {name} that head {number} of the record was made from, {_shown(entry[key])}, got "
                f"{_shown(source[key])}; pass the same {name}s in the same order, on the same grid"
            )


def _shown(told: Any) -> str:
    if not isinstance(told, Mapping):
        return "none"
    return f"{tuple(told.get('size', ()))} with SHA-256 {told.get('sha256', '')!s:.12}..."


def _check_rng(rng: Any) -> None:
    if not isinstance(rng, torch.Generator):
        raise UsageError(
            f"rng: expected a torch.Generator on the CPU, got {type(rng).__name__}; pass "
            "torch.Generator().manual_seed(0), or another seed"
        )
    if rng.device.type != "cpu":
        raise UsageError(
            f"rng: expected a torch.Generator on the CPU, wherever the labels are, got one on {rng.device}; make it "
            "without a device"
        )
