"""Heads to measure bundles of the brain on: synthetic ones of label maps that no network learned from, and real ones.

A synthetic head is whole, as it lies in its map: turned, stretched and bent by numbers that depend on the map alone, of
a contrast whose numbers depend on map and contrast, in slices of a given thickness. The same head in other slices
differs in nothing else. Real ones lie in the folder that ``MEDKIT_DATA`` names.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose, CropForegroundd, EnsureTyped, LoadImaged, Orientationd

from medkit.bundle.instance import read_config
from medkit.bundle.store import BundleFolder
from medkit.data import Grid, Volume, VolumeReader, as_volume, read_volume
from medkit.data.datalist import find_dataset, fold_label_maps
from medkit.errors import UsageError
from medkit.transforms.synthesis.bias_field import BiasField
from medkit.transforms.synthesis.brain import brain_generator
from medkit.transforms.synthesis.brain_contrasts import brain_contrasts
from medkit.transforms.synthesis.brain_labels import brain_scheme
from medkit.transforms.synthesis.chain import Chain
from medkit.transforms.synthesis.deformation import Deformation
from medkit.transforms.synthesis.gamma import Gamma
from medkit.transforms.synthesis.ghosts import Ghosts
from medkit.transforms.synthesis.intensities import Intensities
from medkit.transforms.synthesis.kspace_noise import KSpaceNoise
from medkit.transforms.synthesis.label_scheme import looked_up
from medkit.transforms.synthesis.resolution import Axis, slice_matrix, slice_places
from medkit.transforms.synthesis.sample import Sample
from medkit.transforms.synthesis.separable import along
from medkit.transforms.synthesis.synthesised import Synthesised

FREE = "none (at random)"  # a contrast that no scanner gives
CONTRASTS = ("T1, inversion recovery", "T2", "FLAIR", "proton density", FREE)
SPACINGS = (1.0, 3.0, 5.0, 7.0, 9.0)  # mm between slices, which are as thick
# Of which a contrast may differ from the scanner's, in parts of the way to a free one.
_FREEDOM = (0.0, 0.2)
_MARGIN = 8  # voxels about the head, for a head that is turned and stretched
MULTICONTRAST = {
    "patient 07 (1 mm, brain alone)": ("cross_patient07_mni", {"T1": "t1", "T2": "t2", "FLAIR": "flair"}),
    "patient 01 (native, 3 to 4 mm)": (
        "long_patient01_study1_native",
        {"T1": "T1W", "T2": "T2W", "FLAIR": "FLAIR"},
    ),
}
TEMPLATE, STROKE = "MNI152", "stroke case"


@dataclass(frozen=True)
class SyntheticHead:
    """An image and what it was made of.

    Args:
        image: as a scanner would store it, with slices of their own thickness.
        truth: ``(I, J, K)`` classes at 1 mm.
        grid: of the classes.
    """

    image: Volume
    truth: np.ndarray
    grid: Grid


@dataclass(frozen=True)
class SyntheticHeads:
    """Heads of some label maps.

    Args:
        maps: by name, files.
        classes: of FreeSurfer's values, in the order of the bundle's labels; a list of values is one class.
    """

    maps: dict[str, Path]
    classes: Sequence[int | Sequence[int]]

    @classmethod
    def held_out_of(cls, folder: BundleFolder) -> "SyntheticHeads":
        """Those of :func:`held_out_maps`, with the classes of the bundle."""
        return cls(held_out_maps(folder), read_config(folder, "train")["classes"])

    def make(self, name: str, contrast: str, spacing: float) -> SyntheticHead:
        """The head of a map, always the same."""
        labels, image, faults = _whole(self.maps[name], contrast)
        number = along_axis(list(self.maps).index(name), contrast)
        axis = Axis(spacing, spacing, "rectangular", shift=0.5 if spacing > 1 else 0.0)
        size = image.shape[number]
        sliced = image
        if not axis.fine:
            sliced = along(image, slice_matrix(axis, size).to(torch.float32), number)
        chain = Chain([KSpaceNoise(), Ghosts()])
        spoilt = chain.apply(Sample(labels, image=sliced), chain.parameters_from(faults)).needed_image
        affine = np.eye(4)
        affine[number, number], affine[number, 3] = spacing, float(slice_places(axis, size)[0])
        grid = Grid(tuple(spoilt.shape), affine)
        truth = looked_up(self._table(), labels).numpy()
        return SyntheticHead(
            Volume(spoilt.numpy(), grid, f"{name}, {contrast}, {spacing:g} mm"),
            truth,
            Grid(truth.shape, np.eye(4)),
        )

    def _table(self) -> torch.Tensor:
        """The class of each value of a map, as in training."""
        of_targets = Synthesised("label", brain_generator(), self.classes).table
        return of_targets[brain_scheme().target_table(torch.device("cpu")).long()]


def held_out_maps(folder: BundleFolder) -> dict[str, Path]:
    """Files of the label maps of the first fold, by case, which a bundle's network did not learn from.

    Raises:
        UsageError: its metadata say that it did, or do not say what it learned from.
    """
    if not (training := folder.metadata.get("training", {})).get("train_cases"):
        raise UsageError(
            f"{folder.root}: expected the cases that the network learned from at training::train_cases, got none; "
            "adopt the weights by `medkit bundle adopt`"
        )
    items = fold_label_maps(find_dataset("brain_label_maps"), [0], read_config(folder, "train")["map_split"])
    maps = {item["case"]: Path(item["label"]) for item in items}
    if learned := sorted(maps.keys() & {*training["train_cases"]}):
        raise UsageError(
            f"{folder.root}: expected a network that was trained without fold 0, got one that learned from "
            f"{', '.join(learned)}; train it with --fold 0"
        )
    return maps


def along_axis(place: int, contrast: str) -> int:
    """The axis that slices lie along: each of the three as often as the others, over maps and over contrasts."""
    return (2 - place - CONTRASTS.index(contrast)) % 3


@lru_cache(maxsize=1)
def _whole(path: Path, contrast: str):
    """Labels and image at 1 mm before slices are taken, and the faults of the slices."""
    labels = _label_map(path)
    scheme, size = brain_scheme(), [length + 2 * _MARGIN for length in labels.shape]
    usual = [] if contrast == FREE else [brain_contrasts()[contrast]]
    anatomy = Chain([Deformation(size, rotation=(-10, 10), scaling=(0.9, 1.1), translation=(0, 0))])
    seen = Chain([Intensities(scheme, contrasts=usual, freedom=_FREEDOM), BiasField(), Gamma()])
    faults = Chain([KSpaceNoise(), Ghosts()])
    of_map, of_image = _random_numbers(path.name), _random_numbers(f"{path.name} {contrast}")
    head = anatomy.apply(Sample(labels), anatomy.draw(of_map))
    head = seen.apply(head, seen.draw(of_image))
    return head.labels, head.needed_image, faults.record(faults.draw(of_image))


def _random_numbers(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def _label_map(path: Path) -> torch.Tensor:
    """``(D, H, W)``, int32, axes to the right, front and up, cut to the head."""
    prepare = Compose(
        [
            LoadImaged("label", reader=VolumeReader, ensure_channel_first=True),
            Orientationd("label", axcodes="RAS", labels=None),
            CropForegroundd("label", source_key="label"),
            EnsureTyped("label", dtype=torch.int32, track_meta=False),
        ]
    )
    return prepare({"label": str(path)})["label"][0].contiguous()


def template() -> Volume:
    """The symmetric MNI152 template at 1 mm, which nilearn carries in its package."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    image.header.set_xyzt_units("mm")  # which its file does not state
    return as_volume(image)


def adults() -> dict[str, Path]:
    """The T1 of each adult of the IXI data, by name, those included whose automatic label map failed."""
    folder = Path(find_dataset("ixi_t1")) / "t1"
    if not (found := sorted(folder.glob("*_T1.nii.gz"))):
        raise SystemExit(f"{folder}: expected *_T1.nii.gz, got none")
    return {path.name.removesuffix("_T1.nii.gz"): path for path in found}


def multicontrast(patient: str) -> dict[str, Path]:
    """Files of one patient's scans, by contrast."""
    folder, files = MULTICONTRAST[patient]
    root = Path(find_dataset("ms_multicontrast")) / folder
    return {contrast: root / f"{file}.nii.gz" for contrast, file in files.items()}


def stroke() -> dict[str, Path]:
    """Files of the stroke case, by contrast."""
    root = Path(find_dataset("stroke")) / "rawdata"
    return {name: next(root.rglob(f"*_{name.lower()}.nii.gz")) for name in ("FLAIR", "DWI", "ADC")}


def real_heads() -> dict[str, Callable[[], Volume]]:
    """Every real head that a bundle for any contrast should know, by name, the template first."""
    files = adults()
    for patient in MULTICONTRAST:
        files |= {f"{patient}, {contrast}": path for contrast, path in multicontrast(patient).items()}
    files[f"{STROKE}, FLAIR"] = stroke()["FLAIR"]
    return {TEMPLATE: template, **{name: partial(read_volume, path) for name, path in files.items()}}


def no_brains() -> dict[str, Volume]:
    """What a bundle of the brain should refuse: other parts of the body, and nothing at all."""
    body, cord = Path(find_dataset("abdomen_ct_mr")), Path(find_dataset("spinal_cord"))
    files = {
        "CT of the abdomen": body / "example_ct_sm.nii.gz",
        "MR of the abdomen": body / "example_mr_sm.nii.gz",
        "T2 of the cervical spine": cord / "t2" / "t2.nii.gz",
        "T2* of the spinal cord": cord / "t2s" / "t2s_uncropped.nii.gz",
    }
    noise = np.random.default_rng(0).random((160, 192, 160), np.float32)
    return {
        **{name: read_volume(path) for name, path in files.items()},
        "zeros": Volume(np.zeros_like(noise), Grid(noise.shape, np.eye(4)), "zeros"),
        "noise": Volume(noise, Grid(noise.shape, np.eye(4)), "noise"),
    }
