"""What a replay gives: a table of differences, one of refusals, a summary, and pictures of the largest differences."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medkit import __version__
from medkit.batch.ledger import State
from medkit.data.tables import csv_text
from medkit.data.writing import make_folder, write_text
from medkit.errors import ExitCode, UsageError
from medkit.figures.overlay import draw_overlay

if TYPE_CHECKING:
    from pathlib import Path

    from medkit.batch.making.verdicts import Verdict
    from medkit.batch.replay import JobReplayed, Side, Structure, StudyReplayed

__all__ = ["Agreement", "Refusal", "ReplayTables"]

_DIFFERENCES = (
    *("study", "rule", "series", "structure", "dice", "hd95 (mm)"),
    *("volume (ml)", "against (ml)", "change (ml)", "change (%)"),
)
_REFUSALS = ("study", "rule", "series", "code", "against", "reason", "against: reason")
_DIGITS = 12  # of a study's hash in names of files and titles


@dataclass(frozen=True)
class Refusal:
    """A study or job to which one bundle or neither gave a result.

    Args:
        study: its hash.
        rule: none where the study could not be read.
        series: none likewise.
        verdicts: by the first and the second; ``None`` for a result.
    """

    study: str
    rule: str
    series: str
    verdicts: tuple[Verdict | None, Verdict | None]

    @property
    def codes(self) -> tuple[str, str]:
        """Why there is none, by either; empty for a result."""
        first, second = (verdict.code if verdict else "" for verdict in self.verdicts)
        return first, second

    @property
    def differs(self) -> bool:
        """Whether the bundles do not end alike."""
        return self.codes[0] != self.codes[1]


@dataclass(frozen=True)
class Agreement:
    """All volumes of one structure.

    Args:
        structure: its name.
        volumes: how many have it by one bundle or both.
        mean_dice: over these.
        lowest_dice: of them.
        lowest_study: hash of the study that has it.
        mean_change_ml: of the volume, from the first bundle to the second.
        mean_change_percent: over those that have it by the first; NaN where none has.
        largest_change_percent: with its sign.
    """

    structure: str
    volumes: int
    mean_dice: float
    lowest_dice: float
    lowest_study: str
    mean_change_ml: float
    mean_change_percent: float
    largest_change_percent: float


class ReplayTables:
    """Collects a replay, and writes it.

    Args:
        folder: empty or not there.
        sides: both bundles.
        pictures: of how many of the volumes that agree least.

    Raises:
        UsageError: the folder has files, or cannot be written.
    """

    def __init__(self, folder: Path, sides: tuple[Side, Side], pictures: int = 3) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                f"{folder}: expected an empty folder, or none, got one with files; choose another"
            )
        make_folder(folder)
        self._folder, self._sides, self._most = folder, sides, pictures
        self._rows: list[tuple[str, str, str, Structure]] = []
        self._drawn: list[tuple[float, Path]] = []
        self.refusals: list[Refusal] = []
        self.studies = self.compared = self.skipped = 0

    def add(self, replayed: StudyReplayed) -> None:
        """Take in a study; its voxels may be let go then."""
        self.studies += 1
        verdict = replayed.verdict
        if verdict is not None:
            if verdict.state is State.SKIPPED:
                self.skipped += 1
            else:
                self.refusals.append(Refusal(replayed.study, "", "", (verdict, verdict)))
            return
        for job in replayed.jobs:
            if any(job.verdicts):
                self.refusals.append(Refusal(replayed.study, job.rule, job.series, job.verdicts))
                continue
            self.compared += 1
            self._rows += [(replayed.study, job.rule, job.series, one) for one in job.structures]
            self._draw(replayed.study, job)

    def agreement(self) -> list[Agreement]:
        """A row for each structure that any volume has, in the order in which they came."""
        names = dict.fromkeys(row[-1].name for row in self._rows)
        found = ([(study, one) for study, _, _, one in self._rows if one.name == name] for name in names)
        return [_agreement(rows) for rows in found if any(not math.isnan(one.dice) for _, one in rows)]

    def exit_code(self, lowest_dice: float | None = None) -> ExitCode:
        """How it ended.

        Args:
            lowest_dice: what every structure of every volume is expected to reach.
        """
        if not self.compared:
            return ExitCode.NONE_SUCCEEDED
        below = any(one.dice < lowest_dice for *_, one in self._rows) if lowest_dice is not None else False
        unlike = any(refusal.differs for refusal in self.refusals)
        return ExitCode.SOME_FAILED if unlike or below else ExitCode.DONE

    def write(self) -> None:
        """Write ``differences.csv``, ``refusals.csv`` and, last, ``summary.json``."""
        rows = [(study, rule, series, *_cells(one)) for study, rule, series, one in self._rows]
        write_text(self._folder / "differences.csv", csv_text(_DIFFERENCES, rows))
        refused = [
            (one.study, one.rule, one.series, *one.codes, *(str(verdict or "") for verdict in one.verdicts))
            for one in self.refusals
        ]
        write_text(self._folder / "refusals.csv", csv_text(_REFUSALS, refused))
        write_text(self._folder / "summary.json", json.dumps(self._summary(), indent=1) + "\n")

    @property
    def pictures(self) -> list[Path]:
        """Those that were drawn, of the least agreement first."""
        return [path for _, path in sorted(self._drawn)]

    def _draw(self, study: str, job: JobReplayed) -> None:
        """Draw a volume if it is among those that agree least, in the place of the one that is so no more."""
        dice = job.lowest_dice
        if job.maps is None or dice == 1 or not self._most:
            return
        if len(self._drawn) == self._most:
            best = max(self._drawn)
            if dice >= best[0]:
                return
            best[1].unlink()
            self._drawn.remove(best)
        maps, path = job.maps, self._folder / f"{study[:_DIGITS]}_{job.series}_{job.rule}.png"
        worst = min(job.structures, key=lambda one: 2.0 if math.isnan(one.dice) else one.dice).name
        title = f"study {study[:_DIGITS]}, series {job.series}: Dice {dice:.3f} for {worst}"
        (value,) = [value for value, name in maps.names.items() if name == worst]
        draw_overlay(
            maps.image,
            maps.labels,
            maps.names,
            path,
            title=title,
            truth=maps.against,
            about=(maps.labels == value) != (maps.against == value),
            called=(f"bundle, {self._sides[0].version}", f"against, {self._sides[1].version}"),
        )
        self._drawn.append((dice, path))

    def _summary(self) -> dict[str, Any]:
        first, second = self._sides
        return {
            "medkit": __version__,
            "bundle": {"name": first.name, "version": first.version, "digest": first.digest},
            "against": {"name": second.name, "version": second.version, "digest": second.digest},
            "studies": self.studies,
            "skipped": self.skipped,
            "volumes_compared": self.compared,
            "refused": len(self.refusals),
            "refused_unlike": sum(refusal.differs for refusal in self.refusals),
            "structures": {
                one.structure: {
                    "volumes": one.volumes,
                    "mean_dice": one.mean_dice,
                    "lowest_dice": one.lowest_dice,
                    "lowest_study": one.lowest_study,
                    "mean_change_ml": one.mean_change_ml,
                    "mean_change_percent": _or_null(one.mean_change_percent),
                    "largest_change_percent": _or_null(one.largest_change_percent),
                }
                for one in self.agreement()
            },
        }


def _agreement(rows: list[tuple[str, Structure]]) -> Agreement:
    known = [(study, one) for study, one in rows if not math.isnan(one.dice)]
    lowest_study, lowest = min(known, key=lambda row: row[1].dice)
    changes = [one.change_percent for _, one in known if not math.isnan(one.change_percent)]
    return Agreement(
        structure=lowest.name,
        volumes=len(known),
        mean_dice=math.fsum(one.dice for _, one in known) / len(known),
        lowest_dice=lowest.dice,
        lowest_study=lowest_study,
        mean_change_ml=math.fsum(one.change_ml for _, one in known) / len(known),
        mean_change_percent=math.fsum(changes) / len(changes) if changes else math.nan,
        largest_change_percent=max(changes, key=abs, default=math.nan),
    )


def _cells(one: Structure) -> tuple[str, ...]:
    numbers = (one.dice, one.hd95_mm, one.volume_ml, one.against_ml, one.change_ml, one.change_percent)
    return one.name, *("" if math.isnan(number) else f"{number:.4f}" for number in numbers)


def _or_null(number: float) -> float | None:
    return None if math.isnan(number) else number
