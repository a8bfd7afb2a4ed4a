"""The generators of brain images: which steps, in which order, and how severe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medkit.transforms.synthesis.acquisition import Acquisition
from medkit.transforms.synthesis.bias_field import BiasField
from medkit.transforms.synthesis.brain_contrasts import brain_contrasts
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.deformation import Deformation
from medkit.transforms.synthesis.draws import Range
from medkit.transforms.synthesis.field_of_view import FieldOfView
from medkit.transforms.synthesis.gamma import Gamma
from medkit.transforms.synthesis.generator import Generator
from medkit.transforms.synthesis.ghosts import Ghosts
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.intra_subject import IntraSubjectGenerator
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise
from medkit.transforms.synthesis.lesions import Lesions
from medkit.transforms.synthesis.mirroring import Mirroring
from medkit.transforms.synthesis.normalisation import Normalisation
from medkit.transforms.synthesis.real_image import RealImage
from medkit.transforms.synthesis.resolution import Resolution
from medkit.transforms.synthesis.skull_stripping import SkullStripping

if TYPE_CHECKING:
    from medkit.transforms.synthesis.step import Step

__all__ = ["brain_generator", "intra_subject_brain_generator"]

Reach = float | Sequence[Range]
_SIZE = (160, 160, 160)
_REACH = 10.0
_FINE_PROBABILITY = 0.2


def brain_generator(
    size: Sequence[int] = _SIZE,
    reach: Reach = _REACH,
    far: Reach = 0.0,
    far_probability: float = 0.0,
    fine_probability: float = _FINE_PROBABILITY,
) -> Generator:
    """One image of each head, of any contrast and resolution, its skull stripped or not.

    Call it with label maps of :func:`brain_scheme` and a generator of random numbers, as
    :meth:`~medkit.transforms.synthesis.generator.BatchGenerator.__call__` tells.

    Args:
        size: of the image, in voxels of 1 mm.
        reach: where the image's middle lies from the brain's, in mm to the right, to the front and up: three ranges, or
            how far at most along each axis.
        far: the same for a part of the images, to show the face, the neck, or nothing of a head.
        far_probability: of an image to be one of those.
        fine_probability: of an image of 1 mm, neither thick slices nor large voxels.
    """
    scheme = brain_scheme()
    where = _where(size, reach, far=_moved(far), far_probability=far_probability)
    return Generator(
        scheme,
        [
            *_anatomy(where),
            *_severe(fine_probability),
            SkullStripping(scheme),
            FieldOfView(),
            Normalisation(),
        ],
    )


def intra_subject_brain_generator(
    size: Sequence[int] = _SIZE, mild_versions: int = 2, severe_versions: int = 2
) -> IntraSubjectGenerator:
    """Mild and severe images of each head that share its anatomy.

    Args:
        size: of the images, in voxels of 1 mm.
        mild_versions: near 1 mm, with little noise and bias.
        severe_versions: as :func:`brain_generator` has them.
    """
    return IntraSubjectGenerator(
        brain_scheme(),
        anatomy=_anatomy(_where(size, _REACH)),
        mild=[*_mild(), Normalisation()],
        severe=[*_severe(), Normalisation()],
        mild_versions=mild_versions,
        severe_versions=severe_versions,
    )


def _where(size: Sequence[int], reach: Reach, **more: Any) -> Step[Any]:
    return Deformation(size, translation=_moved(reach), centred_by=brain_scheme(), **more)


def _moved(reach: Reach) -> list[Range]:
    """Of the head, which moves the other way."""
    ranges = [(-reach, reach)] * 3 if isinstance(reach, (int, float)) else reach
    return [(-high, -low) for low, high in ranges]


def _anatomy(where: Step[Any]) -> list[Step[Any]]:
    scheme = brain_scheme()
    return [where, Mirroring(scheme), Lesions(scheme)]


def _intensities(**changed: Any) -> Step[Any]:
    return Intensities(brain_scheme(), contrasts=list(brain_contrasts().values()), **changed)


def _mild() -> list[Step[Any]]:
    return [
        _intensities(std=(0.0, 0.06)),
        RealImage(),
        BiasField(std=(0.0, 0.2)),
        Gamma(0.1),
        Acquisition(
            Resolution(fine_probability=0.7, slice_spacing=(1, 2), voxel=(1, 1.5)),
            [KSpaceNoise(std=(0, 0.02))],
        ),
    ]


def _severe(fine_probability: float = _FINE_PROBABILITY) -> list[Step[Any]]:
    return [
        _intensities(),
        RealImage(),
        BiasField(),
        Gamma(),
        Acquisition(Resolution(fine_probability), [KSpaceNoise(), Ghosts()]),
    ]
