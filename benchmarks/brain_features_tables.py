"""The page that `brain_features.py` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from brain_features_distance import OTHER_PLACE, SAME_PLACE, SAME_STRUCTURE, WITHIN
from brain_features_patients import OTHER_CONTRAST, SAME_CONTRAST
from brain_features_tasks import TASKS
from machine import describe


@dataclass(frozen=True)
class Setting:
    """What was measured.

    Args:
        bundle: its name.
        digest: of its config and weights.
        samples: heads that a layer learns from.
        heads: held out.
        size: of a synthetic head, in voxels along each axis.
        steps: that a layer learns.
        maps: number of the label maps that heads are made of.
        held_out: whether it is known that the network did not learn from these.
    """

    bundle: str
    digest: str
    samples: int
    heads: int
    size: int
    steps: int
    maps: int
    held_out: bool

    @property
    def its_maps(self) -> str:
        """In words."""
        known = "held out" if self.held_out else "which these weights may have learned from"
        return f"{self.maps} label maps, {known}"


def document(
    setting: Setting,
    distances: Mapping[str, Mapping[str, Sequence[float]]],
    patient: Mapping[str, Mapping[str, float]],
    tasks: Mapping[str, Mapping[str, Sequence[float]]],
) -> str:
    """All tables.

    Args:
        setting: what they are of.
        distances: of each source, a value a head.
        patient: of each source.
        tasks: by task and source, or baseline, a value a head.
    """
    lines = [
        f"# Features of `{setting.bundle}`",
        "",
        f"By `benchmarks/brain_features.py`. Config and weights: {setting.digest[:12]}. {describe()}.",
        "",
        *_of_distances(setting, distances),
        *_of_patient(patient),
        *_of_tasks(setting, tasks),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _of_distances(setting: Setting, distances: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    rows = [
        f"| {name} | "
        + " | ".join(spread(found[kind]) for kind in (WITHIN, OTHER_PLACE, SAME_STRUCTURE, SAME_PLACE))
        + " |"
        for name, found in distances.items()
    ]
    return [
        "## One place over contrasts, beside other places",
        "",
        f"{setting.heads} synthetic heads of {setting.size}^3 voxels of {setting.its_maps}, in two mild and two severe "
        "versions each. Distance: root mean square over channels, each of standard deviation 1; mean ± sd over heads, "
        "of which several share a map. The ratios are the distance of a place from itself in another version, in parts "
        "of its distance there from another place: one of the same structure in the same head, one of it in a head of "
        "another map, or what lies at the same place of the grid in that head. Below 1, a place is more like itself in "
        "another contrast than like others. Most of what tells it from others is where it lies: a person is told by as "
        "much as the ratio falls from the first of these columns to the second.",
        "",
        "| what | distance of a place from itself | ratio, structure in the same head | ratio, structure in another | "
        "ratio, grid of another |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _of_patient(patient: Mapping[str, Mapping[str, float]]) -> list[str]:
    rows = [
        f"| {name} | {found[WITHIN]:.3f} | {found[SAME_CONTRAST]:.3f} | {found[OTHER_CONTRAST]:.3f} |"
        for name, found in patient.items()
    ]
    return [
        "## A real patient in four contrasts, beside another one",
        "",
        "Patient 07 of `ms_multicontrast` (brain alone, 1 mm, T1, T1 post-contrast, T2 and FLAIR on one grid), beside "
        "patient 01 (whole head, slices of 3 to 4 mm, T1, T2 and FLAIR), at places of the same structure by the "
        "bundle's own labels. The other patient differs in resolution and has a skull too, which makes the ratios "
        "smaller than they would be between like scans: compare rows, not with 1.",
        "",
        f"| what | distance within the patient | ratio, {SAME_CONTRAST} | ratio, {OTHER_CONTRAST} |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _of_tasks(setting: Setting, tasks: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    lines = [
        "## One layer",
        "",
        f"Learned on {setting.samples} heads of the other maps, in {setting.steps} steps, and measured on "
        f"{setting.heads} heads of {setting.its_maps}; mean ± sd over heads. For bias field and "
        "super-resolution the layer sees the image beside the features.",
        "",
    ]
    for name, rows in tasks.items():
        task = TASKS[name]
        better = "more is better" if task.higher else "less is better"
        lines += [
            f"**{name[0].upper()}{name[1:]}**: {task.measure}; {better}.",
            "",
            "| answer | |",
            "|---|---|",
        ]
        for row, values in rows.items():
            lines.append(f"| {row if row == task.baseline else f'one layer on: {row}'} | {spread(values)} |")
        lines.append("")
    return lines


def spread(values: Sequence[float]) -> str:
    """Mean and, of several, standard deviation."""
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
