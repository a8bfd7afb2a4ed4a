"""The tables of `brain_anatomy.py`, its aims, and what of them goes into the bundle's card."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from brain_heads import TEMPLATE
from brain_scores import HIPPOCAMPI, relative_difference
from segmenters_tables import table

from medkit.bundle.card import decimals
from medkit.metrics.segmentation import DEFINITIONS
from medkit.training.score_summary import summarise_scores

Found = Mapping[str, Mapping[str, Mapping[str, Any]]]
FINE, THICK = 1.0, 5.0  # mm
# Aims, in the units of what is measured.
SYNTHETIC, LOSS, SILVER, SAME_PATIENT, SYMMETRY = 0.85, 0.05, 0.80, 0.85, 0.03
SECONDS, SECONDS_GPU, MEGABYTES = 25.0, 1.0, 8.0
_REFERENCE = (
    "Synthetic heads: whole, turned by up to 10°, stretched by up to 10 %, bent, with a bias field, noise and ghosts as "
    "in training; each slice is the mean over its thickness, sagittal, coronal and axial in turn. The image has the "
    "slices that were acquired; labels are compared at 1 mm. The network learned from images of other label maps, "
    "which the same generator made: real scans differ more"
)
_PICTURES = (
    "As `medkit predict` draws them, on each image's own grid. The template and patient 07 have no skull; patient 01"
    " and the stroke case are heads as they were scanned, in slices of 2 to 5 mm. There are no outlines by hand to hold"
    " these against: look for yourself."
)
_SILVER = (
    "DLMUSE is an automatic tool, and its label maps have 2 mm: this is imitation of it, not accuracy. Where one of its "
    "values leaves open which of several structures it is, either is taken"
)


@dataclass(frozen=True)
class Aim:
    """What was wished for and what came of it.

    Args:
        what: is measured.
        wanted: in words.
        measured: in words; ``None`` where it was not.
        met: whether it is.
    """

    what: str
    wanted: str
    measured: str | None
    met: bool | None


def synthetic_dice(found: Found) -> dict[tuple[str, float], list[float]]:
    """By contrast and slices: the mean over structures of each head."""
    means: dict[tuple[str, float], list[float]] = {}
    for what, values in found["synthetic"].items():
        _, contrast, spacing = json.loads(what)
        means.setdefault((contrast, spacing), []).append(_mean_dice(values["rows"]))
    return means


def _mean_dice(rows: Iterable[Mapping[str, Any]]) -> float:
    return fmean(row["dice"] for row in rows if row["dice"] is not None)


def _at(found: Found, spacing: float) -> float | None:
    every = [dice for (_, own), dices in synthetic_dice(found).items() if own == spacing for dice in dices]
    return fmean(every) if every else None


def _rows_at(found: Found, spacing: float) -> list[dict[str, Any]]:
    """Of all heads of these slices, each a case of its own."""
    return [
        {**row, "case": f"{name}, {contrast}"}
        for what, values in found["synthetic"].items()
        for name, contrast, own in [json.loads(what)]
        if own == spacing
        for row in values["rows"]
    ]


def _silver_rows(found: Found) -> list[dict[str, Any]]:
    return [row for values in found["real"].values() if values["rows"] is not None for row in values["rows"]]


def same_patient(found: Found) -> dict[str, float]:
    """By patient: the mean over pairs of contrasts of the mean Dice over structures; 0 where a scan was refused."""
    return {
        patient: fmean(fmean(pair["dice"].values()) for pair in values["pairs"].values())
        if values["pairs"]
        else 0.0
        for patient, values in found["contrasts"].items()
    }


def symmetry(found: Found) -> float | None:
    """Of the hippocampi of the symmetric template: the difference of their volumes, in parts of their mean.

    2, the most that there is, where none was found; ``None`` where the template was not measured.
    """
    if (values := found["real"].get(TEMPLATE)) is None:
        return None
    volumes = [(values["volumes"] or {}).get(name, 0.0) for name in HIPPOCAMPI]
    return relative_difference(*volumes) if any(volumes) else 2.0


def swaps(found: Found) -> tuple[int, int, int]:
    """Heads with the hippocampi on the wrong sides, heads in which both were found, and all."""
    known = [values["sides"]["swapped"] for values in found["real"].values()]
    return sum(value is True for value in known), sum(value is not None for value in known), len(known)


def aims(found: Found, megabytes: float) -> list[Aim]:
    """In the order of the issue that set them."""
    fine, thick = _at(found, FINE), _at(found, THICK)
    lost = fine - thick if fine is not None and thick is not None else None
    rows = _silver_rows(found)
    silver = _mean_dice(rows) if rows else None
    patients = same_patient(found)
    wrong, known, heads = swaps(found)
    four, gpu = found["speed"].get("4"), found["speed"].get("GPU")
    return [
        _least(f"mean Dice, held-out synthetic heads at {FINE:g} mm", fine, SYNTHETIC),
        _most(f"less of it with slices of {THICK:g} mm", lost, LOSS, "{:.3f}"),
        _least("mean Dice, IXI T1 against DLMUSE, without fine-tuning", silver, SILVER),
        *(
            _least(f"mean Dice, T1, T2 and FLAIR of {name}", dice, SAME_PATIENT)
            for name, dice in patients.items()
        ),
        Aim(
            "hippocampi on the wrong sides",
            "none",
            f"{wrong} of {known} heads in which both were found; {heads - known} of {heads} without",
            wrong == 0 and known == heads,
        ),
        _most(
            "difference of the hippocampi of the symmetric MNI152 template",
            symmetry(found),
            SYMMETRY,
            "{:.1%}",
        ),
        _most("seconds a head, file to file, four threads", four and four["seconds"], SECONDS, "{:.1f}"),
        _most("seconds a head on a GPU", gpu and gpu["seconds"], SECONDS_GPU, "{:.2f}"),
        _most("megabytes of weights", megabytes, MEGABYTES, "{:.1f}"),
    ]


def _least(what: str, measured: float | None, wanted: float) -> Aim:
    if measured is None:
        return Aim(what, f"{wanted:.2f} or more", None, None)
    return Aim(what, f"{wanted:.2f} or more", f"{measured:.3f}", measured >= wanted)


def _most(what: str, measured: float | None, wanted: float, form: str) -> Aim:
    words = f"{form.format(wanted)} or less"
    if measured is None:
        return Aim(what, words, None, None)
    return Aim(what, words, form.format(measured), measured <= wanted)


def aims_table(found: Found, megabytes: float) -> str:
    words = {True: "met", False: "not met", None: "not measured"}
    return table(
        ["aim", "wanted", "measured", "verdict"],
        [[aim.what, aim.wanted, aim.measured or "-", words[aim.met]] for aim in aims(found, megabytes)],
    )


def curve_table(found: Found) -> str:
    """Contrasts by slices."""
    dices = synthetic_dice(found)
    spacings = sorted({spacing for _, spacing in dices})
    rows = [
        [contrast, *(decimals(fmean(dices[contrast, spacing]), 3) for spacing in spacings)]
        for contrast in dict.fromkeys(contrast for contrast, _ in dices)
    ]
    every = ["all", *(decimals(_at(found, spacing), 3) for spacing in spacings)]
    return table(["contrast", *(f"{spacing:g} mm" for spacing in spacings)], [*rows, every])


def structure_table(rows: list[dict[str, Any]], more: list[dict[str, Any]] | None = None) -> str:
    """A row for each structure; the Dice of others beside it, if there are."""
    summary = summarise_scores(rows)
    beside = summarise_scores(more) if more else {}
    lines = []
    for name, row in summary.items():
        dice, hd95 = row["dice"], row["hd95_mm"]
        infinite = f" ({hd95['n_infinite']} infinite)" if hd95["n_infinite"] else ""
        lines.append(
            [
                name,
                str(dice["n"]),
                f"{decimals(dice['mean'], 3)} ± {decimals(dice['sd'], 3)}",
                f"{decimals(dice['worst'], 3)} ({dice['worst_case']})",
                decimals(row["surface_dice"]["mean"], 3),
                f"{decimals(hd95['mean'], 2)}{infinite}",
                *([decimals(beside[name]["dice"]["mean"], 3)] if beside else []),
            ]
        )
    head = ["structure", "n", "Dice, mean ± sd", "worst", "surface Dice at 1 mm", "HD95 mm"]
    return table([*head, *([f"Dice at {THICK:g} mm"] if beside else [])], lines)


def agreement_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each comparison of a head with itself: Dice over structures, the least, difference of volumes."""
    lines = []
    for name, values in found.items():
        if values.get("refused"):
            lines.append([name, f"refused ({values['refused']})", "-", "-"])
            continue
        dice = values["dice"]
        worst = min(dice, key=lambda structure: dice[structure])
        lines.append(
            [name, f"{fmean(dice.values()):.3f}", f"{dice[worst]:.3f} ({worst})", f"{values['volumes']:.1%}"]
        )
    return table(["scan", "Dice over structures", "least", "difference of volumes"], lines)


def same_patient_table(found: Found) -> str:
    lines: dict[str, Mapping[str, Any]] = {}
    for patient, values in found["contrasts"].items():
        refused = {contrast: code for contrast, code in values["refused"].items() if code}
        lines |= {f"{patient}: {contrast}": {"refused": code} for contrast, code in refused.items()}
        lines |= {f"{patient}: {pair}": found_there for pair, found_there in values["pairs"].items()}
    return agreement_table(lines)


def sides_text(found: Found) -> str:
    wrong, known, heads = swaps(found)
    shares = {
        name: values["sides"]["wrong_side"]
        for name, values in found["real"].items()
        if values["sides"]["wrong_side"] is not None
    }
    text = f"{heads} real heads: left and right hippocampus were found in {known}, on the wrong sides in {wrong}."
    refused = [f"{name} ({values['refused']})" for name, values in found["real"].items() if values["refused"]]
    if shares:
        worst = max(shares, key=lambda name: shares[name])
        text += (
            f" Of their voxels {fmean(shares.values()):.2%} lie beyond the plane between the halves of the brain, at "
            f"most {shares[worst]:.2%} ({worst})."
        )
    return text + (f" Refused: {', '.join(refused)}." if refused else "")


def template_text(found: Found) -> str:
    volumes, apart = found["real"].get(TEMPLATE, {}).get("volumes"), symmetry(found)
    if not volumes or apart is None:
        return f"{TEMPLATE} was refused or not measured."
    left, right = (volumes[name] for name in HIPPOCAMPI)
    return f"{TEMPLATE}: left hippocampus {left:.2f} ml, right {right:.2f} ml, {apart:.1%} apart."


def no_brain_table(found: Found) -> str:
    return table(
        ["image", "outcome"],
        [
            [
                name,
                f"refused ({values['refused']})" if values["refused"] else f"{values['ml']:.0f} ml labelled",
            ]
            for name, values in found["no brain"].items()
        ],
    )


def speed_table(found: Found) -> str:
    lines = []
    for name, values in found["speed"].items():
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in values["steps"].items())
        where = f"{name} thread{'s' if name != '1' else ''}" if name != "GPU" else values["device"]
        memory = f"{values['memory']:.2f}" if "memory" in values else "-"
        lines.append([where, f"{values['seconds']:.1f}", memory, steps])
    return table(["on", "seconds", "peak memory GiB", "of these"], lines)


def document(found: Found, megabytes: float, machine: str) -> str:
    """The whole table file."""
    parts = [
        "# Brain anatomy",
        f"{machine}.",
        aims_table(found, megabytes),
        "With fine-tuning: `benchmarks/brain_anatomy_fine_tuning.py`.",
        *sections(found, "##"),
        "## Seconds and memory",
        f"`medkit predict` on {TEMPLATE} at 1 mm, the start of Python and the bundle's loading included; on a GPU from "
        "memory to memory, loaded.",
        speed_table(found),
    ]
    return "\n\n".join(parts) + "\n"


def card_text(found: Found, megabytes: float, pictures: str) -> str:
    """For the card, whose sections have headings of the third level."""
    shown = ["### Real heads", _PICTURES, pictures]
    return "\n\n".join([aims_table(found, megabytes), *sections(found, "###"), *shown])


def sections(found: Found, mark: str) -> list[str]:
    """What card and table file have in common."""
    silver = _silver_rows(found)
    parts = [
        f"{mark} Synthetic heads of held-out label maps",
        f"Mean Dice over structures and heads, by contrast and distance of slices. {_REFERENCE}.",
        curve_table(found),
        f"At {FINE:g} mm, over all contrasts. HD95: {DEFINITIONS['hd95_mm']}.",
        structure_table(_rows_at(found, FINE), _rows_at(found, THICK)),
    ]
    if silver:
        parts += [
            f"{mark} IXI T1 against DLMUSE, a silver standard, without fine-tuning",
            f"{len({row['case'] for row in silver})} healthy adults. {_SILVER}.",
            structure_table(silver),
        ]
    return [
        *parts,
        f"{mark} The same patient in T1, T2 and FLAIR",
        "Labels of two scans of one session, at 1 mm, not registered; differences of volumes are means over structures.",
        same_patient_table(found),
        f"{mark} Left and right",
        sides_text(found),
        template_text(found),
        "The network's answer is the mean over an image and its mirror image, so both figures are of windows and of "
        "resampling, and would be as good of one that learned nothing.",
        "Against the mirror image, names of left and right changed there:",
        agreement_table(found["mirrored"]),
        f"{mark} Twice",
        "The same head again with noise (Gaussian, in parts of the 99.5th percentile) or turned, labels of the turned "
        "one returned to the nearest voxel.",
        agreement_table(found["repeated"]),
        f"{mark} No brain",
        no_brain_table(found),
    ]


def metrics(found: Found) -> dict[str, float]:
    """For the bundle's metadata."""
    silver = _silver_rows(found)
    wrong, _, _ = swaps(found)
    spacings = sorted({json.loads(what)[2] for what in found["synthetic"]})
    named = {
        **{f"mean_dice_synthetic_{spacing:g}_mm": _at(found, spacing) for spacing in spacings},
        "mean_dice_ixi_t1_silver_standard": _mean_dice(silver) if silver else None,
        **{
            f"mean_dice_contrasts_{name.split(' (')[0].replace(' ', '_')}": dice
            for name, dice in same_patient(found).items()
        },
        "heads_with_hippocampi_swapped": float(wrong),
        "hippocampi_mni152_difference": symmetry(found),
        "seconds_four_threads": found["speed"]["4"]["seconds"],
    }
    return {name: round(value, 4) for name, value in named.items() if value is not None}
