"""How good the masks of `brain_extraction` are, beside BET and dipy's `median_otsu`, and how long they take.

    MEDKIT_DATA=... OMP_NUM_THREADS=4 python benchmarks/brain_extraction.py [--others PYTHON] [--quick] [--keep]

- synthetic heads of the three label maps that the network did not learn from, in several contrasts;
- 20 T1 of the IXI data, against the union of the structures of DLMUSE's automatic label maps: a silver standard;
- T1, T2 and FLAIR of one patient, native: how far the masks of a method agree.

BET takes in some of the fluid about the brain; so masks are held against the brain alone and against brain and fluid,
and the bundle's against both as well; `median_otsu` is made for diffusion images. PYTHON is the interpreter of an
environment with `brainextractor` and `dipy`. Seconds are from file to file, in a process that has loaded what it needs.
Images, masks and results are in RUNS/brain_extraction, by the code.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import dlmuse
import numpy as np
import torch
from brain_heads import CONTRASTS, FREE, MULTICONTRAST, SyntheticHeads, multicontrast
from brain_scores import on_grid
from command_line import command_line
from machine import describe, versions
from results import Results
from segmenters_tables import table
from sources import sources_sha256
from timing import note

import medkit
from medkit.bundle.build import sources_root
from medkit.bundle.card import decimals
from medkit.bundle.evaluation import write_evaluation
from medkit.bundle.instance import read_config
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.data import Grid, read_volume, write_volume
from medkit.data.hashing import hash_files
from medkit.errors import CaseError

BUNDLE = "brain_extraction"
RIVALS = {"bet": "BET (brainextractor)", "otsu": "median_otsu (dipy, radius 2, one pass)"}
OURS = "ours"
BRAIN, FLUID = 1, 2  # labels of the bundle
REFERENCES = ("brain", "brain and fluid")
NATIVE = list(MULTICONTRAST)[1]
AIM_SECONDS = 5.0
_ADULTS = 20
_PARTS = ("data", "inference", "networks", "ops", "transforms")
_SCRIPTS = (
    "brain_extraction.py",
    "brain_extraction_rivals.py",
    "brain_heads.py",
    "brain_scores.py",
    "dlmuse.py",
)
Values = dict[str, Any]
Masks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Head:
    """An image and what is known of it.

    Args:
        group: of heads that are told of together.
        image: file.
        reference: masks by :data:`REFERENCES` and their grid, where there are any.
    """

    group: str
    image: Path
    reference: Callable[[], tuple[Masks, Grid]] | None


def synthetic_heads(heads: SyntheticHeads, folder: Path) -> dict[str, Head]:
    """All maps in some contrasts at 1 mm, and T1 with thick slices; images are written."""
    kinds = [
        *((contrast, 1.0) for contrast in ("T1, inversion recovery", "T2", "FLAIR", FREE)),
        (CONTRASTS[0], 5.0),
    ]
    found = {}
    for contrast, spacing in kinds:
        for name in heads.maps:
            case = f"{name} {contrast} {spacing:g} mm".replace(",", "").replace(" ", "_")
            path = folder / f"{case}.nii.gz"
            if not path.is_file():
                made = heads.make(name, contrast, spacing)
                write_volume(path, (1000 * made.image.array).astype(np.float32), made.image.grid)
            reference = _of_truth(heads, name, contrast, spacing)
            found[case] = Head(f"synthetic, {contrast}, {spacing:g} mm", path, reference)
    return found


def _of_truth(heads: SyntheticHeads, name: str, contrast: str, spacing: float):
    def masks() -> tuple[Masks, Grid]:
        made = heads.make(name, contrast, spacing)
        return {"brain": made.truth == BRAIN, "brain and fluid": made.truth > 0}, made.grid

    return masks


def adults() -> dict[str, Head]:
    """Evenly spaced by name, with DLMUSE's structures for the brain."""
    cases = sorted(dlmuse.silver_cases(), key=lambda case: case.name)
    chosen = cases[:: max(1, len(cases) // _ADULTS)][:_ADULTS]
    return {
        case.name: Head("IXI T1, silver standard", case.image, _of_silver(case.reference)) for case in chosen
    }


def _of_silver(path: Path):
    def masks() -> tuple[Masks, Grid]:
        reference = read_volume(path)
        return {"brain": silver_brain(reference.array)}, reference.grid

    return masks


def silver_brain(labels: np.ndarray) -> np.ndarray:
    """Where DLMUSE has a structure of the brain: not what may be background or the fluid about it alone."""
    sets, names = _sets()
    beyond = {value for value, name in names.items() if name in ("background", "cerebrospinal fluid")}
    inside = np.array([not set(found) <= beyond for found in sets.sets])
    return inside[sets.numbers(labels)]


@cache
def _sets():
    names = read_config(find_bundle(dlmuse.BUNDLE), "inference")["label_names"]
    return dlmuse.label_sets(), {int(value): name for value, name in names.items()}


def patient() -> dict[str, Head]:
    """The native scans of one patient, of which nobody outlined a brain."""
    return {name: Head(NATIVE, path, None) for name, path in multicontrast(NATIVE).items()}


def extract(bundle: Any, image: Path, folder: Path) -> Values:
    """Labels of an image in a file."""
    begin = time.perf_counter()
    try:
        bundle.predict(image).save(folder, name=image.name.removesuffix(".nii.gz"), picture=False, force=True)
    except CaseError as error:
        return {"failed": error.code}
    return {"failed": None, "seconds": time.perf_counter() - begin}


def ours(
    folder: BundleFolder, heads: Mapping[str, Head], results: Results, base: Values, work: Path
) -> dict[str, Values]:
    """By case; the bundle is loaded and has seen an image before the time is taken."""
    key = {
        "method": OURS,
        "weights": hash_files([folder.weights]),
        "config": hash_files([folder.config_path("inference")]),
        **base,
    }
    place, bundle, found = work / OURS, None, {}
    for case, head in heads.items():
        known = results.get({**key, "case": case})
        if known is None or not (known["failed"] or _label_file(place, head.image).is_file()):
            if bundle is None:
                bundle = medkit.load(folder.root)
                extract(bundle, head.image, place)
            note(f"{case}: {OURS}")
            made = extract(bundle, head.image, place)
            known = known or results.get_or_make({**key, "case": case}, lambda made=made: made)
        found[case] = known
    return found


def rivals(
    python: str, method: str, heads: Mapping[str, Head], results: Results, base: Values, work: Path
) -> dict[str, Values]:
    """By case, all that were not done before in one process."""
    key = {"method": method, "packages": packages(python), **base}
    place = work / method
    missing = [
        case
        for case, head in heads.items()
        if (known := results.get({**key, "case": case})) is None
        or not (known["failed"] or (place / _file(head.image)).is_file())
    ]
    jobs = [[str(heads[case].image), str(place / _file(heads[case].image))] for case in missing]
    made = iter(_rival_lines(python, method, jobs) if jobs else ())
    for case in missing:
        note(f"{case}: {method}")
        values = next(made)
        results.get_or_make({**key, "case": case}, lambda values=values: values)
    return {case: results.get({**key, "case": case}) for case in heads}


def _rival_lines(python: str, method: str, jobs: list[list[str]]) -> Iterator[Values]:
    """What comes of each job. A head on which the process dies is tried once more, in a process of its own."""
    left = list(jobs)
    while left:
        done = 0
        lines = _process(python, method, left)
        for values in lines:
            done += 1
            if "status" not in values:
                yield values
            elif done == 1:  # the first of a new process
                yield {"failed": f"ended with status {values['status']}"}
            else:
                done -= 1
        left = left[done:]


def _process(python: str, method: str, jobs: list[list[str]]) -> Iterator[Values]:
    """Its lines; and its status, if it does not end well."""
    script = Path(__file__).with_name("brain_extraction_rivals.py")
    threads = str(torch.get_num_threads())
    settings = os.environ | {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    settings.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [python, str(script), method],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=settings,
    )
    process.stdin.write(json.dumps(jobs))
    process.stdin.close()
    for line in process.stdout:
        if line.startswith("RESULT "):
            yield json.loads(line.removeprefix("RESULT "))
    if status := process.wait():
        yield {"status": status}


def packages(python: str) -> str:
    """Versions in the others' environment, such as ``brainextractor 0.3.0, dipy 1.12.1``."""
    code = "from importlib.metadata import version as v; print(v('brainextractor'), v('dipy'))"
    try:
        shown = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"{python}: expected an interpreter with brainextractor and dipy, got one without")
    return ", ".join(map(" ".join, zip(("brainextractor", "dipy"), shown.split(), strict=True)))


def _file(image: Path) -> str:
    return image.name


def _label_file(folder: Path, image: Path) -> Path:
    return folder / "labels" / _file(image)


def masks(work: Path, method: str, head: Head) -> dict[str, tuple[np.ndarray, Grid]]:
    """What a method calls brain in an image, by what it should be held against."""
    if method != OURS:
        volume = read_volume(work / method / _file(head.image))
        return dict.fromkeys(REFERENCES, (volume.array > 0, volume.grid))
    volume = read_volume(_label_file(work / OURS, head.image))
    return {"brain": (volume.array == BRAIN, volume.grid), "brain and fluid": (volume.array > 0, volume.grid)}


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Of two masks; 0 where one is empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 0.0


def scores(work: Path, method: str, head: Head, made: Values) -> dict[str, float]:
    """Dice by reference; 0 where the method failed."""
    truth, grid = head.reference()
    if made["failed"]:
        return dict.fromkeys(truth, 0.0)
    found = masks(work, method, head)
    return {
        name: dice(on_grid(found[name][0].astype(np.uint8), found[name][1], grid) > 0, mask)
        for name, mask in truth.items()
    }


def agreement(work: Path, method: str, heads: Mapping[str, Head], made: Mapping[str, Values]) -> float | None:
    """Mean Dice of a method's masks of one patient's scans; ``None`` where it failed at one."""
    if any(made[case]["failed"] for case in heads):
        return None
    every = [masks(work, method, head)["brain"] for head in heads.values()]
    _, grid = every[0]
    placed = [on_grid(mask.astype(np.uint8), own, grid) > 0 for mask, own in every]
    return fmean(dice(one, other) for one, other in combinations(placed, 2))


def rows_of(
    work: Path, method: str, heads: Mapping[str, Head], made: Mapping[str, Values]
) -> dict[str, Values]:
    """By group of heads: mean Dice by reference, the worst, seconds, failures."""
    found: dict[str, Values] = {}
    for group in dict.fromkeys(head.group for head in heads.values()):
        cases = {case: head for case, head in heads.items() if head.group == group}
        seconds = [made[case]["seconds"] for case in cases if not made[case]["failed"]]
        row: Values = {
            "n": len(cases),
            "failed": sum(bool(made[case]["failed"]) for case in cases),
            "seconds": fmean(seconds) if seconds else None,
        }
        if group == NATIVE:
            row["agreement"] = agreement(work, method, cases, made)
        else:
            each = [scores(work, method, head, made[case]) for case, head in cases.items()]
            row |= {name: fmean(one[name] for one in each) for name in each[0]}
            row["worst"] = min(one["brain"] for one in each)
        found[group] = row
    return found


def tables(found: Mapping[str, Mapping[str, Values]], titles: Mapping[str, str]) -> str:
    lines = []
    for group in next(iter(found.values())):
        for method, rows in found.items():
            row = rows[group]
            measured = [
                decimals(row.get(name), 3) for name in ("brain", "worst", "brain and fluid", "agreement")
            ]
            failed = f" ({row['failed']} failed)" if row["failed"] else ""
            lines.append(
                [group, titles[method], f"{row['n']}{failed}", *measured, decimals(row["seconds"], 1)]
            )
    head = [
        "heads",
        "method",
        "n",
        "Dice, brain",
        "worst",
        "Dice, brain and fluid",
        "agreement of contrasts",
        "seconds",
    ]
    return table(head, lines)


def metrics(rows: Mapping[str, Values]) -> dict[str, float]:
    """Of the bundle, for its metadata."""
    synthetic = [
        row["brain"] for group, row in rows.items() if group.startswith("synthetic") and "1 mm" in group
    ]
    seconds = [row["seconds"] for row in rows.values() if row["seconds"] is not None]
    named = {
        "mean_dice_synthetic_1_mm": fmean(synthetic) if synthetic else None,
        "mean_dice_ixi_t1_silver_standard": next(
            (row["brain"] for g, row in rows.items() if g.startswith("IXI")), None
        ),
        "seconds": fmean(seconds) if seconds else None,
    }
    return {name: round(value, 4) for name, value in named.items() if value is not None}


def aim(rows: Mapping[str, Values], threads: int) -> str:
    slowest = max((row["seconds"] for row in rows.values() if row["seconds"] is not None), default=None)
    if slowest is None:
        return "No head was segmented."
    verdict = "met" if slowest < AIM_SECONDS else "not met"
    return (
        f"Aim: under {AIM_SECONDS:g} s a head on four cores, from file to file, the bundle loaded before. Measured with "
        f"{threads} threads, the slowest kind of head: {slowest:.1f} s, {verdict if threads == 4 else 'no answer'}."
    )


def arguments() -> argparse.Namespace:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--bundle", default=BUNDLE, help="another than medkit's, by its folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--others", metavar="PYTHON", help="interpreter with brainextractor and dipy")
    parser.add_argument("--quick", action="store_true", help="one head of each kind; no table is written")
    parser.add_argument("--keep", action="store_true", help="write the figures for the card")
    given = parser.parse_args()
    if given.keep and (given.quick or given.bundle != BUNDLE):
        parser.error("--keep takes figures of the bundle as it is and of all that is measured")
    return given


def main() -> None:
    given = arguments()
    folder, here = find_bundle(given.bundle), Path(__file__).parent
    code = sources_sha256(_PARTS, [here / name for name in _SCRIPTS])
    if not folder.weights.is_file():
        sys.exit(f"{folder.weights}: expected the bundle's weights, got no file; train it and adopt the run")
    # Masks of other code or weights are others.
    work = given.runs / "brain_extraction" / f"{code[:12]}-{hash_files([folder.weights])[:12]}"
    heads = SyntheticHeads.held_out_of(folder)
    every = {**synthetic_heads(heads, work / "images"), **adults(), **patient()}
    if given.quick:
        every = dict(list(every.items())[:1] + list(adults().items())[:1] + list(patient().items()))
    results = Results(given.runs / "brain_extraction" / "results.jsonl")
    base = {"threads": torch.get_num_threads(), "code": code, **versions()}
    made = {OURS: ours(folder, every, results, base, work)}
    for method in RIVALS if given.others else ():
        made[method] = rivals(given.others, method, every, results, base, work)
    found = {method: rows_of(work, method, every, values) for method, values in made.items()}
    text = "\n\n".join([tables(found, {OURS: f"`{BUNDLE}`", **RIVALS}), aim(found[OURS], base["threads"])])
    others = f" {packages(given.others)}." if given.others else ""
    whole = f"# Brain extraction\n\n{describe()}.{others}\n\n{text}\n"
    if not given.quick:
        given.output.write_text(whole)
    if given.keep:
        write_evaluation(sources_root() / BUNDLE, [folder.weights], metrics(found[OURS]), text)
    print(whole)


if __name__ == "__main__":
    main()
