"""Read a training set: folds of cases, with `images/` and `labels/`, or with both packed into one `.npz` a case.

The folds are those of the data's own `dataset.json`, or a split that a config states where the data have none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from medkit.data.archives import ARCHIVE_SUFFIX
from medkit.data.hashing import hash_image
from medkit.data.reading import READABLE_SUFFIXES
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "data_hashes",
    "file_key",
    "find_dataset",
    "fold_items",
    "fold_label_maps",
    "mixed_items",
    "number_of_folds",
    "remaining_folds",
]

Split = Sequence[Sequence[str]]
"""Names of the cases of each fold."""
DATA_VARIABLE, _CASE = "MEDKIT_DATA", "{case}"


def find_dataset(name: str) -> str:
    """Folder of a data set inside the one that ``MEDKIT_DATA`` names.

    Raises:
        UsageError: the variable is unset or the folder is not there.
    """
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        raise UsageError(
            f"where is the data set '{name}'? Set {DATA_VARIABLE} to the folder that holds it, "
            f"or name your own with --set dataset_dir=FOLDER"
        )
    path = Path(root).absolute() / name
    if not path.is_dir():
        raise UsageError(f"{DATA_VARIABLE} names {root}, but there is no folder '{name}' in it")
    return str(path)


def _folds(dataset_dir: str | Path, split: Split | None) -> list[list[str]]:
    if split is not None:
        return _checked(split, "split")
    path = Path(dataset_dir) / "dataset.json"
    if not path.is_file():
        raise UsageError(
            f"{path}: no such file; a training set needs it, with 'folds' as lists of case names"
        )
    try:
        folds = json.loads(path.read_text())["folds"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: expected a JSON object with 'folds', lists of case names ({error!r})"
        ) from error
    return _checked(folds, f"{path}: 'folds'")


def _checked(folds: Split, where: str) -> list[list[str]]:
    names = [name for fold in folds for name in fold]
    if not names or len(names) != len(set(names)):
        raise UsageError(f"{where} must name at least one case, and each case once")
    return [list(fold) for fold in folds]


def number_of_folds(dataset_dir: str | Path, split: Split | None = None) -> int:
    """How many folds the data set has; see :func:`fold_items`."""
    return len(_folds(dataset_dir, split))


def remaining_folds(dataset_dir: str | Path, held_out: int | None, split: Split | None = None) -> list[int]:
    """The folds to train on when one is held out, or all of them; see :func:`fold_items`.

    Raises:
        UsageError: no such fold.
    """
    count = number_of_folds(dataset_dir, split)
    if held_out is not None:
        _check_fold(held_out, count, dataset_dir)
    return [fold for fold in range(count) if fold != held_out]


def _check_fold(fold: int, count: int, dataset_dir: str | Path) -> None:
    if fold not in range(count):
        raise UsageError(f"fold {fold}: {dataset_dir} has folds 0 to {count - 1}")


def fold_items(
    dataset_dir: str | Path,
    folds: Iterable[int],
    label_key: str = "label",
    split: Split | None = None,
    images: str = "images/{case}",
    labels: str = "labels/{case}",
) -> list[dict[str, str]]:
    """Items ``{"case", "image", label_key}`` of some folds, in the order of the list.

    A case that lies in the folder itself, as ``<case>.npz``, is image and label map in one.

    Args:
        dataset_dir: folder of the data set.
        folds: numbers of the folds.
        label_key: what the label map is called in an item.
        split: names of the cases of each fold; those of ``dataset.json`` by default.
        images: where the image of a case lies in the folder, without what its format adds to a name.
        labels: where its label map lies.

    Raises:
        UsageError: no such fold, an image or a label of a listed case is missing, or a place that is the same for all.
    """
    root = Path(dataset_dir)
    return [
        {"case": name, "image": str(_file(root, images, name)), label_key: str(_file(root, labels, name))}
        for name in _cases(dataset_dir, folds, split)
    ]


def fold_label_maps(
    dataset_dir: str | Path, folds: Iterable[int], split: Split | None = None
) -> list[dict[str, str]]:
    """Items ``{"case", "label"}`` of some folds of a data set without images, whose label maps lie in the folder itself.

    Args:
        dataset_dir: folder of the data set.
        folds: numbers of the folds.
        split: names of the cases of each fold; those of ``dataset.json`` by default.

    Raises:
        UsageError: no such fold, or a label map of a listed case is missing.
    """
    root = Path(dataset_dir)
    return [{"case": name, "label": str(_image(root, name))} for name in _cases(dataset_dir, folds, split)]


def mixed_items(
    first: Sequence[Mapping[str, str]], second: Sequence[Mapping[str, str]], share: float
) -> list[Mapping[str, str]]:
    """Items of two kinds, repeated so that samples drawn evenly have a share of the second, however many there are.

    Args:
        first: of one kind.
        second: of the other.
        share: of the second, from 0 to 1, taken to a hundredth; of a kind that is empty there is none.

    Raises:
        UsageError: a share that is no part.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UsageError(f"expected a share from 0 to 1 of the samples, got {share}; correct it")
    if not first or not second:
        return [*first, *second]
    part = Fraction(share).limit_denominator(100)
    repeats = len(second) * (part.denominator - part.numerator), len(first) * part.numerator
    common = gcd(*repeats)
    return [*first] * (repeats[0] // common) + [*second] * (repeats[1] // common)


def _cases(dataset_dir: str | Path, folds: Iterable[int], split: Split | None) -> list[str]:
    folds, listed = list(folds), _folds(dataset_dir, split)
    for fold in folds:
        _check_fold(fold, len(listed), dataset_dir)
    return [name for fold in folds for name in listed[fold]]


def _file(root: Path, place: str, case: str) -> Path:
    if (packed := root / f"{case}{ARCHIVE_SUFFIX}").is_file():
        return packed
    if _CASE not in place:
        raise UsageError(
            f"expected a place with {_CASE} in it, where the name of the case goes, got '{place}'"
        )
    path = root / place.replace(_CASE, case)
    return _image(path.parent, path.name)


def _image(folder: Path, name: str) -> Path:
    for suffix in READABLE_SUFFIXES:
        if (path := folder / f"{name}{suffix}").is_file():
            return path
    raise UsageError(f"{folder}: no image called '{name}', which the folds list")


def data_hashes(items: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """SHA-256 of every image and label, by ``folder/file``, sorted; see :func:`medkit.data.hashing.hash_image`.

    Raises:
        UsageError: one of them cannot be read.
    """
    paths = sorted({Path(path) for item in items for key, path in item.items() if key != "case"})
    return {file_key(path): _hash(path) for path in paths}


def file_key(path: str | Path) -> str:
    """What :func:`data_hashes` calls a file."""
    path = Path(path)
    return f"{path.parent.name}/{path.name}"


def _hash(path: Path) -> str:
    digest = hash_image(path)
    if digest is None:
        raise UsageError(
            f"{path}: expected an image that can be read with all its files, got one that cannot; "
            "look for what is missing, or write it in one file"
        )
    return digest
