"""Stored studies made with two bundles, side by side: what would change if the one took the place of the other.

Studies are read, chosen for and predicted as :mod:`medkit.batch.making` does it, out of the store of a batch. Nothing is
written there: the ledger is only read, no object is made, and no destination is asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.batch.ledger import State
from medkit.batch.making.bundles import BundleSettings, BundleShelf
from medkit.batch.making.predicting import as_image, predict_job
from medkit.batch.making.reading import Wanted, read_stored
from medkit.batch.making.verdicts import Verdict, verdict_on
from medkit.bundle.store import find_bundle
from medkit.dicom.writing.placing import on_grid
from medkit.errors import UsageError
from medkit.metrics.segmentation import score_case

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medkit.batch.ledger import LedgerView
    from medkit.batch.making.reading import JobRead
    from medkit.batch.rules import Rule
    from medkit.batch.spool import Spool
    from medkit.data.volume import Volume
    from medkit.dicom.result import SeriesVolume
    from medkit.inference.result import Result

__all__ = [
    "JobReplayed", "Maps", "Side", "Structure", "StudyReplayed", "complete_studies", "open_side", "replay_study",
    "rules_of",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two bundles.

    Args:
        name: of the bundle.
        version: its version.
        digest: SHA-256 of its configs and weights.
        shelf: gives it under the name of the bundle of every rule that is replayed.
    """

    name: str
    version: str
    digest: str
    shelf: BundleShelf = field(repr=False)


@dataclass(frozen=True)
class Structure:
    """How two results agree on one structure.

    Args:
        name: of the structure.
        dice: 0 to 1; NaN where neither has it.
        hd95_mm: 95th percentile Hausdorff distance in millimetres; NaN where neither has it, infinite where one has.
        volume_ml: by the first bundle.
        against_ml: by the second.
    """

    name: str
    dice: float
    hd95_mm: float
    volume_ml: float
    against_ml: float

    @property
    def change_ml(self) -> float:
        """From the first to the second, millilitres."""
        return self.against_ml - self.volume_ml

    @property
    def change_percent(self) -> float:
        """From the first to the second, per cent of the first; NaN where that is nothing."""
        return 100 * self.change_ml / self.volume_ml if self.volume_ml else math.nan


@dataclass(frozen=True, eq=False)
class Maps:
    """What to draw: the image, and both results with one value for each structure.

    Args:
        image: that was segmented.
        labels: ``(I, J, K)`` by the first bundle.
        against: ``(I, J, K)`` by the second.
        names: value to structure.
    """

    image: Volume
    labels: NDArray[np.uint16]
    against: NDArray[np.uint16]
    names: dict[int, str]


@dataclass(frozen=True, eq=False)
class JobReplayed:
    """A job with both bundles.

    Args:
        rule: by which it was chosen.
        series: name of the volume; of several channels that of the first.
        verdicts: why a bundle gave no result, by the first and the second; ``None`` where it gave one.
        structures: how they agree, where both gave a result.
        maps: the same in voxels.
    """

    rule: str
    series: str
    verdicts: tuple[Verdict | None, Verdict | None]
    structures: tuple[Structure, ...] = ()
    maps: Maps | None = field(default=None, repr=False)

    @property
    def lowest_dice(self) -> float:
        """Of the structures that one of both has; 1 where there are none."""
        return min((one.dice for one in self.structures if not math.isnan(one.dice)), default=1.0)


@dataclass(frozen=True, eq=False)
class StudyReplayed:
    """A study with both bundles.

    Args:
        study: its hash.
        verdict: why it came to neither: no rule that is replayed wants it (``skipped``), or it cannot be read.
        jobs: what was made of it.
    """

    study: str
    verdict: Verdict | None
    jobs: tuple[JobReplayed, ...] = ()


def rules_of(rules: Sequence[Rule], bundles: Collection[str], names: Collection[str] = ()) -> list[str]:
    """Names of the rules that are replayed.

    Args:
        rules: all of them.
        bundles: names of the two bundles; a rule for one of them is replayed.
        names: of rules, where others are meant: a bundle in a folder may go by any name.

    Raises:
        UsageError: there is no such rule.
    """
    known = ", ".join(rule.name for rule in rules)
    if strange := set(names) - {rule.name for rule in rules}:
        raise UsageError(f"expected the name of a rule ({known}), got {min(strange)}")
    found = [rule.name for rule in rules if (rule.name in names if names else rule.bundle in bundles)]
    if not found:
        raise UsageError(
            f"expected a rule for {' or '.join(sorted(bundles))}, got none; name one of its rules: {known}"
        )
    return found


def open_side(
    bundle: str | Path, rules: Sequence[Rule], device: str | None = None, *, accept_licence: bool = False
) -> Side:
    """Load a bundle to stand in for those that rules name.

    Args:
        bundle: name or folder.
        rules: those that are replayed.
        device: such as ``cuda:1``; the bundle's own choice by default.
        accept_licence: whether terms that forbid commercial use were accepted.

    Raises:
        UsageError: it cannot be loaded, or the inputs of a rule are not its channels.
    """
    folder = find_bundle(bundle)
    settings = BundleSettings(location=folder.root, accept_licence=accept_licence)
    replaced = {rule.bundle: settings for rule in rules}
    shelf = BundleShelf(replaced, device, size=len(replaced))
    maker = None
    for rule in rules:
        shelved = shelf.take(rule.bundle)
        shelved.order(rule.inputs)
        maker = shelved.maker
    assert maker is not None
    return Side(maker.bundle, maker.version, maker.digest, shelf)


def complete_studies(view: LedgerView, spool: Spool) -> list[str]:
    """Hashes of the studies that came to rest once and are in the store, the newest first."""
    stored = set(spool.studies())
    known = view.studies(newest_first=True)
    return [
        one.study
        for one in known
        if one.study in stored and one.state is not State.RECEIVING and not one.arriving
    ]


def replay_study(
    study: str, spool: Spool, wanted: Wanted, names: Collection[str], sides: tuple[Side, Side]
) -> StudyReplayed:
    """Make a study with both bundles.

    Args:
        study: its hash.
        spool: where its instances are; nothing is changed.
        wanted: all rules, so that what is ambiguous in earnest is so here.
        names: of the rules that are replayed.
        sides: both bundles, that which is in use first.
    """
    try:
        jobs, *_ = read_stored(study, spool.instances(study), spool, wanted)
    except Exception as error:
        return StudyReplayed(study, verdict_on(error))
    mine = [job for job in jobs if job.job.rule in names]
    if not mine:
        return StudyReplayed(study, Verdict(State.SKIPPED, "no-rule", "other rules want it"))
    return StudyReplayed(study, None, tuple(_replay_job(job, sides) for job in mine))


def _replay_job(job: JobRead, sides: tuple[Side, Side]) -> JobReplayed:
    results: list[tuple[Result, NDArray[Any]]] = []
    verdicts: list[Verdict | None] = []
    source = next(iter(job.volumes.values()))
    for side in sides:
        try:
            predicted = predict_job(job, (), side.shelf)
            source, result = predicted.source, predicted.result
            results.append((result, on_grid(result.labels, result.grid.affine, source)))
        except Exception as error:
            verdicts.append(verdict_on(error))
        else:
            verdicts.append(None)
    both = (verdicts[0], verdicts[1])
    if any(both):
        return JobReplayed(job.job.rule, source.name, both)
    return _compare(job.job.rule, source, results)


def _compare(rule: str, source: SeriesVolume, results: list[tuple[Result, NDArray[Any]]]) -> JobReplayed:
    image = as_image(source)
    names = list(dict.fromkeys(name for result, _ in results for name in result.label_names.values()))
    values = dict(enumerate(names, 1))
    joint = [np.zeros(image.grid.shape, np.uint16) for _ in results]
    structures = []
    for value, name in values.items():
        masks = [_mask(result, labels, name) for result, labels in results]
        for labels, mask in zip(joint, masks, strict=True):
            labels[mask] = value
        structures.append(_structure(name, masks, image))
    maps = Maps(image, joint[0], joint[1], values)
    return JobReplayed(rule, source.name, (None, None), tuple(structures), maps)


def _mask(result: Result, labels: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Voxels of a structure; nothing where the bundle does not know it."""
    values = [value for value, known in result.label_names.items() if known == name]
    if labels.ndim == 3:
        return np.isin(labels, values)
    found: NDArray[np.bool_] = np.zeros(labels.shape[:3], np.bool_)
    for channel in values:
        found |= labels[..., channel] != 0
    return found


def _structure(name: str, masks: list[NDArray[np.bool_]], image: Volume) -> Structure:
    (score,) = score_case(
        masks[1].astype(np.uint8),
        masks[0].astype(np.uint8),
        image.grid.spacing_mm,
        {1: name},
        voxel_volume_ml=image.grid.voxel_volume_ml,
    )
    return Structure(name, score.dice, score.hd95_mm, score.truth_volume_ml, score.volume_ml)
