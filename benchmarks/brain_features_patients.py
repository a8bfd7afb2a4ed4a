"""Features of real scans: one patient in four contrasts on one grid, and another one in three."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
from brain_features_distance import (
    WITHIN,
    Person,
    distance,
    in_same_structure,
    mean_of,
    some_places,
    standardised,
    structures_of_blocks,
)
from torch import Tensor

from medkit.data.datalist import find_dataset
from medkit.inference.features import windowed_features
from medkit.inference.predictor import LoadedBundle
from medkit.networks.features import FeatureNetwork

# Registered to each other, brain alone, at 1 mm; and native scans of a head, in slices of 3 to 4 mm.
PATIENT, PATIENT_FILES = (
    "cross_patient07_mni",
    {"T1": "t1", "T1 post-contrast": "t1post", "T2": "t2", "FLAIR": "flair"},
)
OTHER, OTHER_FILES = "long_patient01_study1_native", {"T1": "T1W", "T2": "T2W", "FLAIR": "FLAIR"}
SAME_CONTRAST, OTHER_CONTRAST = "other patient, same contrast", "other patient, other contrast"


class Scan:
    """A scan as the network sees it.

    Args:
        path: of the file.
        bundle: prepares it, and says where which structure is.
    """

    def __init__(self, path: Path, bundle: LoadedBundle) -> None:
        if not path.is_file():
            raise SystemExit(f"{path}: expected a scan, got none there; look at MEDKIT_DATA")
        self.bundle = bundle
        self.image = bundle.preprocessing({"image": str(path)})["image"].to(bundle.device)

    def structures(self, block: int) -> Tensor:
        """``(P,)``, by the bundle's own labels."""
        with torch.no_grad():
            logits = self.bundle.inferer(self.image[None], self.bundle.network)
        return structures_of_blocks(logits.argmax(1)[0].as_tensor(), block).flatten().cpu()

    def features(self, source: FeatureNetwork) -> Tensor:
        """``(F, *places)``."""
        with torch.no_grad():
            return windowed_features(self.image, source, self.bundle.inferer).float()


def scans(folder: str, files: dict[str, str], bundle: LoadedBundle) -> dict[str, Scan]:
    """Of one patient, by contrast."""
    root = Path(find_dataset("ms_multicontrast")) / folder
    return {contrast: Scan(root / f"{file}.nii.gz", bundle) for contrast, file in files.items()}


class Patients:
    """Both, with the structures at each place.

    Args:
        bundle: see :class:`Scan`.
        block: of the features.
    """

    def __init__(self, bundle: LoadedBundle, block: int) -> None:
        self.scans, self.others = scans(PATIENT, PATIENT_FILES, bundle), scans(OTHER, OTHER_FILES, bundle)
        self.structures = torch.stack([scan.structures(block) for scan in self.scans.values()])
        self.of_others = [scan.structures(block) for scan in self.others.values()]

    def measured(self, source: FeatureNetwork) -> dict[str, float]:
        """Distances within the patient and from the other one, and their ratios; places are those of one structure."""
        rng = torch.Generator().manual_seed(0)
        counted = torch.where((self.structures > 0).all(0))[0]
        if len(counted) == 0:
            raise SystemExit(
                "expected structures that the bundle finds in all contrasts, got none; look at its weights"
            )
        person, *others = standardised([self._person(source, counted, rng), *self._others(source, rng)])
        contrasts = list(self.scans)
        found = {
            f"{contrasts[a]}, {contrasts[b]}": distance(person.features[a], person.features[b])
            for a, b in combinations(range(len(contrasts)), 2)
        }
        own = mean_of(list(found.values()))
        from_others = self._from_others(person, others, rng, lambda one, other: one == other)
        from_all_else = self._from_others(person, others, rng, lambda one, other: one != other)
        ends = {SAME_CONTRAST: own / from_others, OTHER_CONTRAST: own / from_all_else}
        return {**found, WITHIN: own, **ends}

    def _person(self, source: FeatureNetwork, counted: Tensor, rng: torch.Generator) -> Person:
        places = counted[some_places(len(counted), rng)]
        features = torch.stack([scan.features(source).flatten(1)[:, places] for scan in self.scans.values()])
        return Person(features, self.structures[:, places])

    def _others(self, source: FeatureNetwork, rng: torch.Generator) -> list[Person]:
        found = []
        for scan, structures in zip(self.others.values(), self.of_others, strict=True):
            (counted,) = torch.where(structures > 0)
            places = counted[some_places(len(counted), rng)]
            found.append(Person(scan.features(source).flatten(1)[None, :, places], structures[None, places]))
        return found

    def _from_others(
        self,
        person: Person,
        others: list[Person],
        rng: torch.Generator,
        fits: Callable[[str, str], bool],
    ) -> float:
        found = [
            in_same_structure(person, other, rng, [(version, 0)])
            for version, contrast in enumerate(self.scans)
            for other, its_contrast in zip(others, self.others, strict=True)
            if fits(contrast, its_contrast)
        ]
        return mean_of(found)
