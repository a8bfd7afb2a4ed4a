"""Weights of other trainings than the bundle's own: which files, what they are, and what they have seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.data.hashing import hash_files
from medkit.data.reading import file_suffix
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["WeightsFile", "check_differ", "digest_with", "fold_weights", "own_images", "training_notes"]


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights.

    Args:
        path: of a checkpoint as the bundle's own loader takes it.
    """

    path: Path

    @cached_property
    def sha256(self) -> str:
        """Of its contents.

        Raises:
            UsageError: it cannot be read.
        """
        digest = hash_files([self.path])
        if digest is None:
            raise UsageError(
                f"{self.path}: expected a file of weights, got none that can be read; check the path"
            )
        return digest

    @property
    def described(self) -> dict[str, str]:
        """How records name it."""
        return {"path": str(self.path.absolute()), "sha256": self.sha256}

    @cached_property
    def trained_on(self) -> frozenset[str]:
        """SHA-256 of the images that it was trained on, by the training's own record beside it; empty without one."""
        try:
            record = json.loads((self.path.parent / "record.json").read_text(encoding="utf-8"))
            if "images_sha256" in record:
                return frozenset(record["images_sha256"])
            cases, files = set(record["train_cases"]), dict(record["data_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()
        return frozenset(digest for file, digest in files.items() if _case_of(file) in cases)


def _case_of(file: str) -> str:
    name = file.rpartition("/")[2]
    return name.removesuffix(file_suffix(Path(name)) or "")


def fold_weights(run: Path) -> list[Path]:
    """The networks of a cross-validation, by fold.

    Args:
        run: folder of a training, ``runs/<bundle>/<name>``, with ``fold*/model.pt``.

    Raises:
        UsageError: there are fewer than two, or folds of the run are unfinished.
    """
    finished = {path.parent.name: path for path in run.glob("fold*/model.pt")}
    wanted = _wanted_folds(run) or {*finished}
    if missing := sorted(wanted - {*finished}):
        raise UsageError(
            f"{run}: expected the weights of every fold, got none of {', '.join(missing)}; finish the training "
            f"with medkit train --resume {run.name}, or name files by --weights"
        )
    if len(wanted) < 2:
        raise UsageError(
            f"{run}: expected a training of several folds (fold*/model.pt), got {len(wanted)}; name runs/<bundle>/"
            "<name>, or files by --weights"
        )
    return [finished[name] for name in sorted(wanted, key=lambda name: (len(name), name))]


def _wanted_folds(run: Path) -> set[str]:
    try:
        folds: list[Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))["folds"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {f"fold{fold}" for fold in folds if fold is not None}


def check_differ(files: Sequence[WeightsFile]) -> None:
    """Check that no weights are among several twice: their mean would be told as that of more networks than there are.

    Raises:
        UsageError: two files have the same contents.
    """
    seen: dict[str, WeightsFile] = {}
    for file in files if len(files) > 1 else ():
        if (other := seen.setdefault(file.sha256, file)) is not file:
            raise UsageError(
                f"{file.path}: expected weights of another network than those in {other.path}, got the same; name each "
                "once"
            )


def digest_with(own: str, files: Sequence[WeightsFile]) -> str:
    """Identity of a bundle that runs with other weights than its own: SHA-256 over its digest and theirs."""
    digest = hashlib.sha256(own.encode())
    for file in files:
        digest.update(b"\0" + file.sha256.encode())
    return digest.hexdigest()


def own_images(metadata: Mapping[str, Any]) -> frozenset[str]:
    """SHA-256 of the images that a bundle's own network was trained on; empty where its metadata tell nothing."""
    training = metadata.get("training")
    images = training.get("images_sha256") if isinstance(training, dict) else None
    return frozenset(map(str, images)) if isinstance(images, list) else frozenset()


def training_notes(networks: Sequence[Collection[str]], image: Collection[str]) -> tuple[str, ...]:
    """What to say of a result, lest it be scored as if the networks had never seen the image.

    Args:
        networks: in use; of each, SHA-256 of the images that it was trained on.
        image: SHA-256 of the image's files.
    """
    seen = sum(not set(image).isdisjoint(images) for images in networks)
    if seen and len(networks) == 1:
        return ("the network was trained on this image: no score of it says how good it is",)
    if seen:
        return (
            f"{seen} of {len(networks)} networks were trained on this image: no score of it says how good they are",
        )
    if len(networks) > 1:
        return (
            f"the mean of {len(networks)} networks: score it only on cases that none of them was trained on, and no "
            "fold of a cross-validation is such a case",
        )
    return ()
