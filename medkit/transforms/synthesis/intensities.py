"""Intensities of a random contrast: a Gaussian for each tissue, from which every voxel is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medkit.errors import UsageError
from medkit.transforms.synthesis.draws import Range, chance, choice, seed, uniform, within
from medkit.transforms.synthesis.draws import probability as checked_probability
from medkit.transforms.synthesis.label_scheme import looked_up
from medkit.transforms.synthesis.separable import along, gaussian_matrix
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from medkit.transforms.synthesis.label_scheme import LabelScheme
    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Intensities", "IntensitiesParameters"]

_LEAST_BLEND = 0.15  # mm, below which a neighbour has no weight


@dataclass(frozen=True)
class IntensitiesParameters:
    """Of one sample.

    Args:
        means: of each tissue of the scheme.
        stds: of each tissue.
        lesion_mean: of lesions.
        lesion_std: of lesions.
        blend: standard deviation in mm over which neighbouring tissues share a voxel.
        seed: of the voxels' noise.
    """

    means: tuple[float, ...]
    stds: tuple[float, ...]
    lesion_mean: float
    lesion_std: float
    blend: float
    seed: int


class Intensities(Step[IntensitiesParameters]):
    """Draw each voxel from its tissue's Gaussian (Billot et al. 2023, section 3.2), blended with its neighbours'.

    Means and deviations are uniform, whatever the tissue: contrasts that no scanner gives are among them on purpose. Two
    things bring tissues together: some have a mean between those of two others, as deep grey matter has, and at
    boundaries means and deviations are blurred, as voxels that hold two tissues are.

    Of wholly free contrasts alone a network learns slowly: for a long time it heeds where things lie and hardly the
    image. With ``contrasts`` the means lie between those of a scanner's contrast and free ones.

    Args:
        scheme: tells the tissues.
        mean: of a tissue.
        std: of a tissue.
        mix_probability: of a tissue to lie between two others.
        dark_background: how often the background is 0 without noise, as in most scans.
        blend_probability: of boundaries to be blended.
        blend: standard deviation in mm, where they are.
        contrasts: means of all tissues by name, one of which is drawn for each sample; none for free means.
        freedom: where between them means lie: 0 for those of the contrast, 1 for free ones.

    Raises:
        UsageError: a value out of its range, or a contrast of other tissues than the scheme's.
    """

    parameters_type = IntensitiesParameters

    def __init__(
        self,
        scheme: LabelScheme,
        mean: Range = (0.0, 1.0),
        std: Range = (0.0, 0.1),
        mix_probability: float = 0.2,
        dark_background: float = 0.8,
        blend_probability: float = 0.7,
        blend: Range = (0.3, 0.8),
        contrasts: Sequence[Mapping[str, float]] = (),
        freedom: Range = (0.0, 1.0),
    ) -> None:
        self.scheme = scheme
        self.mean, self.std = within("mean", mean, 0), within("std", std, 0)
        self.mix_probability = checked_probability("mix_probability", mix_probability)
        self.dark_background = checked_probability("dark_background", dark_background)
        self.blend_probability = checked_probability("blend_probability", blend_probability)
        self.blend = within("blend", blend, 0)
        self.contrasts = [self._in_order(contrast) for contrast in contrasts]
        self.freedom = within("freedom", freedom, 0, 1)

    @property
    def settings(self) -> dict[str, Any]:
        """The scheme."""
        return {"scheme": self.scheme.digest}

    def draw(self, rng: Generator) -> IntensitiesParameters:
        """Two numbers for each tissue and for lesions."""
        number = len(self.scheme.tissues)
        pure = [uniform(rng, self.mean) for _ in range(number)]
        means = [self._mixed(rng, pure, own) for own in range(number)]
        if self.contrasts:
            usual = self.contrasts[choice(rng, len(self.contrasts))]
            free = uniform(rng, self.freedom)
            means = [free * own + (1 - free) * other for own, other in zip(means, usual, strict=True)]
        stds = [uniform(rng, self.std) for _ in range(number)]
        if chance(rng, self.dark_background):
            means[self.scheme.background_tissue] = stds[self.scheme.background_tissue] = 0.0
        blended = chance(rng, self.blend_probability)
        blend = uniform(rng, self.blend)
        return IntensitiesParameters(
            means=tuple(means),
            stds=tuple(stds),
            lesion_mean=uniform(rng, self.mean),
            lesion_std=uniform(rng, self.std),
            blend=blend if blended else 0.0,
            seed=seed(rng),
        )

    def apply(self, sample: Sample, parameters: IntensitiesParameters) -> Sample:
        """An image of labels and lesions, none below 0."""
        device = sample.labels.device
        rng = torch.Generator(device).manual_seed(parameters.seed)
        mean = self._map(sample, parameters.means, parameters.lesion_mean, parameters.blend)
        std = self._map(sample, parameters.stds, parameters.lesion_std, parameters.blend)
        image = torch.randn(mean.shape, generator=rng, device=device)
        return sample.with_image(image.mul_(std).add_(mean).clamp_(min=0))

    def _in_order(self, contrast: Mapping[str, float]) -> tuple[float, ...]:
        if set(contrast) != set(self.scheme.tissues):
            raise UsageError(
                f"contrasts: expected a mean for each tissue, {list(self.scheme.tissues)}, got them for "
                f"{list(contrast)}; correct their names"
            )
        means = tuple(contrast[tissue] for tissue in self.scheme.tissues)
        within("contrasts", (min(means), max(means)), 0)
        return means

    def _mixed(self, rng: Generator, pure: Sequence[float], own: int) -> float:
        mixed = chance(rng, self.mix_probability)
        one, other, part = choice(rng, len(pure)), choice(rng, len(pure)), uniform(rng, (0, 1))
        return part * pure[one] + (1 - part) * pure[other] if mixed else pure[own]

    def _map(self, sample: Sample, by_tissue: Sequence[float], of_lesion: float, blend: float) -> Tensor:
        device = sample.labels.device
        tissue = self.scheme.tissue_table(device)
        by_value = torch.tensor(by_tissue, dtype=torch.float32, device=device)[tissue.long()]
        values = looked_up(by_value, sample.labels)
        if blend >= _LEAST_BLEND:
            for axis, size in enumerate(values.shape):
                values = along(values, gaussian_matrix(size, blend).to(device, torch.float32), axis)
        return (
            values
            if sample.lesions is None
            else torch.lerp(values, values.new_tensor(of_lesion), sample.lesions)
        )
