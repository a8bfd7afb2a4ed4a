"""How good `brain_anatomy_segmentation` is: on held-out synthetic heads, on real ones, and against itself.

    MEDKIT_DATA=... OMP_NUM_THREADS=4 python benchmarks/brain_anatomy.py [--quick] [--keep] [--pictures DIR]

- synthetic heads of the three label maps that the network did not learn from, over contrasts and slices of 1 to 9 mm:
  Dice of each structure at 1 mm, for slices of 1 and 5 mm also surface Dice and HD95;
- the T1 of the IXI data against the automatic label maps of DLMUSE, without fine-tuning: agreement with a tool, not with
  an expert; its three known failures are left out;
- T1, T2 and FLAIR of the same patient against each other; a head against its mirror image; against itself with noise and
  turned; left and right hippocampus of every real head; what is no brain;
- seconds and memory of `medkit predict`, from file to file, with one thread and with four.

What was measured is in RUNS/brain_anatomy/results.jsonl, by the weights and the code: a run that was stopped goes on.
`--keep` writes the figures and some pictures for the bundle's card, `--pictures` heads slice by slice, to be looked at.
`--quick` measures a little of everything and keeps nothing.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import dlmuse
import numpy as np
import torch
from brain_anatomy_tables import FINE, THICK, card_text, document, metrics
from brain_heads import (
    CONTRASTS,
    MULTICONTRAST,
    SPACINGS,
    TEMPLATE,
    SyntheticHeads,
    multicontrast,
    no_brains,
    real_heads,
    template,
)
from brain_pictures import draw_for_card, draw_pictures
from brain_scores import (
    as_row,
    dice_by_name,
    dice_rows,
    difference_of_volumes,
    on_grid,
    refused_rows,
    score_rows,
    shown_by,
    sides,
    swapped,
    volumes_by_name,
)
from command_line import command_line
from machine import describe, versions
from predict import measure
from results import Results
from scipy.ndimage import affine_transform
from sources import sources_sha256
from timing import note

import medkit
from medkit.bundle.build import sources_root
from medkit.bundle.evaluation import write_evaluation
from medkit.bundle.instance import read_config
from medkit.bundle.overrides import parse_overrides
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.data import Grid, Volume, read_volume, write_volume
from medkit.data.hashing import hash_files
from medkit.errors import CaseError

BUNDLE = "brain_anatomy_segmentation"
# What a result depends on besides weights and config.
_PARTS = ("data", "inference", "metrics", "networks", "ops", "transforms")
_SCRIPTS = ("brain_anatomy.py", "brain_heads.py", "brain_scores.py", "dlmuse.py")
NOISE = {"noise of 3 %": 0.03, "noise of 6 %": 0.06}  # standard deviation, in parts of the 99.5th percentile
TURNS = {"turned by 10° about the long axis": 2, "nodding by 10°": 0}  # axis in space
_DEGREES = 10.0
SURFACES_AT = (FINE, THICK)  # mm between slices; surfaces take as long as the prediction
THREADS = (1, 4)
Values = dict[str, Any]


@dataclass
class Bench:
    """The bundle that is measured, and what was found before.

    Args:
        folder: of the bundle.
        results: of this and earlier runs.
        changes: of its config.
        changed: the same, as the command line has them.
    """

    folder: BundleFolder
    results: Results
    changes: dict[str, Any]
    changed: list[str]

    @cached_property
    def key(self) -> Values:
        here = Path(__file__).parent
        return {
            "weights": hash_files([self.folder.weights]),
            "config": hash_files([self.folder.config_path(name) for name in ("inference", "train")]),
            "silver": dlmuse.table_sha256(),
            "changes": json.loads(json.dumps(self.changes)),
            "code": sources_sha256(_PARTS, [here / name for name in _SCRIPTS]),
            "threads": torch.get_num_threads(),
            **versions(),
        }

    @cached_property
    def names(self) -> dict[int, str]:
        names = read_config(self.folder, "inference")["label_names"]
        return {int(value): name for value, name in names.items() if int(value)}

    @cached_property
    def native(self) -> Any:
        """The bundle as users have it: labels on the image's grid."""
        return medkit.load(self.folder.root, overrides=self.changes)

    @cached_property
    def fine(self) -> Any:
        """With labels at 1 mm, whatever the slices."""
        return medkit.load(
            self.folder.root, overrides={**self.changes, "to_native_labels::resample_back": False}
        )

    def find(self, part: str, make: Callable[[], Values], **what: Any) -> Values:
        """What was measured, now if not before."""
        key = {"part": part, **what, **self.key}
        if (known := self.results.get(key)) is not None:
            return known
        note(f"{part}: {', '.join(str(value) for value in what.values())}")
        return self.results.get_or_make(key, make)


def labelled(bundle: Any, image: Volume) -> tuple[Any, Values]:
    """The result, or ``None`` and why there is none."""
    try:
        result = bundle.predict_volume(image)
    except CaseError as error:
        return None, {"refused": error.code}
    seconds = sum(value for name, value in result.seconds.items() if name != "read")
    return result, {"refused": None, "seconds": round(seconds, 2)}


def synthetic(bench: Bench, heads: SyntheticHeads, name: str, contrast: str, spacing: float) -> Values:
    """Scores at 1 mm of a head whose labels are known."""
    head = heads.make(name, contrast, spacing)
    result, values = labelled(bench.fine, head.image)
    if result is None:
        return {**values, "rows": refused_rows(bench.names, name)}
    found = on_grid(result.labels, result.grid, head.grid)
    if spacing in SURFACES_AT:
        return {**values, "rows": score_rows(found, head.truth, head.grid, bench.names, name)}
    return {**values, "rows": dice_rows(found, head.truth, bench.names, name)}


def real(bench: Bench, name: str, read: Callable[[], Volume], reference: Path | None) -> Values:
    """Volumes and sides of a real head, and its scores where a tool has labelled it."""
    result, values = labelled(bench.native, read())
    if result is None:
        compared = dlmuse.label_sets().compared if reference else {}
        rows = refused_rows(compared, name) if reference else None
        return {**values, "rows": rows, "sides": {"swapped": None, "wrong_side": None}, "volumes": None}
    rows = None
    if reference:
        scores = dlmuse.silver_scores(result.labels, read_volume(reference), dlmuse.label_sets())
        rows = [as_row(score, name) for score in scores]
    return {
        **values,
        "rows": rows,
        "sides": sides(result.labels, result.grid, bench.names),
        "volumes": volumes_by_name(result.labels, result.grid, bench.names),
        "notes": list(result.notes),
    }


def contrasts(bench: Bench, patient: str) -> Values:
    """Labels of each contrast against those of the others, at 1 mm, where both scans show the head.

    Scans of one session lie where the scanner says: nothing is registered.
    """
    scans = {name: read_volume(path) for name, path in multicontrast(patient).items()}
    found, refused = {}, {}
    for contrast, image in scans.items():
        result, values = labelled(bench.fine, image)
        refused[contrast] = values["refused"]
        if result is not None:
            found[contrast] = result
    if any(refused.values()):
        return {"refused": refused, "pairs": {}}
    first = next(iter(found.values())).grid
    shown = np.logical_and.reduce([shown_by(image.grid, first) for image in scans.values()])
    maps = {name: on_grid(result.labels, result.grid, first) * shown for name, result in found.items()}
    pairs = {
        f"{one} and {other}": _agreement(maps[one], maps[other], first, bench.names)
        for one, other in combinations(maps, 2)
    }
    return {"refused": refused, "pairs": pairs}


def _agreement(first: np.ndarray, second: np.ndarray, grid: Grid, names: dict[int, str]) -> Values:
    volumes = [volumes_by_name(labels, grid, names) for labels in (first, second)]
    return {"dice": dice_by_name(first, second, names), "volumes": difference_of_volumes(*volumes)}


def mirrored(bench: Bench, image: Volume) -> Values:
    """A head against its mirror image, with the names of left and right changed there."""
    axis = int(np.argmax(np.abs(image.grid.affine[0, :3]) / image.grid.spacing))
    other = Volume(np.flip(image.array, axis), image.grid, f"{image.name}, mirrored")
    results = [labelled(bench.native, each) for each in (image, other)]
    if refused := [values["refused"] for result, values in results if result is None]:
        return {"refused": refused[0]}
    own, back = results[0][0].labels, np.flip(results[1][0].labels, axis)
    return {"refused": None, **_agreement(own, swapped(back, bench.names), image.grid, bench.names)}


def repeated(bench: Bench, image: Volume, change: str) -> Values:
    """A head against itself with noise, or turned; labels of the latter are turned back to the nearest voxel."""
    other, grid = changed_image(image, change)
    results = [labelled(bench.native, each) for each in (image, other)]
    if refused := [values["refused"] for result, values in results if result is None]:
        return {"refused": refused[0]}
    own, again = (result.labels for result, _ in results)
    return {"refused": None, **_agreement(own, on_grid(again, grid, image.grid), image.grid, bench.names)}


def changed_image(image: Volume, change: str) -> tuple[Volume, Grid]:
    """The image with noise or turned, and the grid on which its labels lie about the head as it was."""
    array = image.array.astype(np.float32)
    if change in NOISE:
        std = NOISE[change] * float(np.percentile(array, 99.5))
        noise = np.random.default_rng(0).normal(0, std, array.shape).astype(np.float32)
        return Volume(array + noise, image.grid, f"{image.name}, {change}"), image.grid
    affine = image.grid.affine
    middle = affine[:3, :3] @ ((np.array(image.grid.shape) - 1) / 2) + affine[:3, 3]
    turn = np.eye(4)
    one, two = (axis for axis in range(3) if axis != TURNS[change])
    cosine, sine = np.cos(np.radians(_DEGREES)), np.sin(np.radians(_DEGREES))
    turn[one, one], turn[one, two], turn[two, one], turn[two, two] = cosine, -sine, sine, cosine
    turn[:3, 3] = middle - turn[:3, :3] @ middle
    back = np.linalg.inv(turn)
    turned = affine_transform(array, np.linalg.inv(affine) @ back @ affine, order=1)
    return Volume(turned, image.grid, f"{image.name}, {change}"), Grid(image.grid.shape, back @ affine)


def no_brain(bench: Bench, image: Volume) -> Values:
    """Whether it was refused, and what was found otherwise."""
    result, values = labelled(bench.native, image)
    return {**values, "ml": None if result is None else sum(result.volumes_ml.values())}


def speed(bench: Bench, threads: int) -> Values:
    """Seconds and memory of one process that segments the template, from file to file, pictures left out."""
    with tempfile.TemporaryDirectory() as name:
        folder, head = Path(name), template()
        write_volume(folder / "head.nii.gz", head.array.astype(np.float32), head.grid)
        words = [
            sys.executable,
            "-m",
            "medkit",
            "predict",
            str(bench.folder.root),
            str(folder / "head.nii.gz"),
        ]
        words += [
            "-o",
            str(folder / "out"),
            "--no-pictures",
            "--device=cpu",
            *(f"--set={change}" for change in bench.changed),
        ]
        seconds, memory = measure(["env", f"OMP_NUM_THREADS={threads}", *words])
        steps = json.loads((folder / "out" / "cases" / "head.json").read_text())["seconds"]
    return {"seconds": seconds, "memory": memory, "steps": steps}


def speed_on_gpu(bench: Bench) -> Values:
    """Seconds from an image in memory to its labels, the second time."""
    bundle, head = medkit.load(bench.folder.root, device="cuda", overrides=bench.changes), template()
    for _ in range(2):
        steps = bundle.predict_volume(head).seconds
    return {"seconds": sum(steps.values()), "steps": steps, "device": torch.cuda.get_device_name()}


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Args:
        maps: number of the held-out label maps.
        contrasts: of synthetic heads.
        spacings: of their slices.
        heads: real ones, by name; all if ``None``.
        patients: whose contrasts are compared.
        twice: heads that are mirrored, and changed.
        changes: of these.
    """

    maps: int | None
    contrasts: tuple[str, ...]
    spacings: tuple[float, ...]
    heads: int | None
    patients: tuple[str, ...]
    twice: tuple[str, ...]
    changes: tuple[str, ...]


_OF_ONE_PATIENT = tuple(f"{next(iter(MULTICONTRAST))}, {contrast}" for contrast in ("T1", "T2", "FLAIR"))
FULL = Extent(
    None, CONTRASTS, SPACINGS, None, tuple(MULTICONTRAST), (TEMPLATE, *_OF_ONE_PATIENT), (*NOISE, *TURNS)
)
QUICK = Extent(1, CONTRASTS[:2], (1.0, 5.0), 2, tuple(MULTICONTRAST)[:1], (TEMPLATE,), tuple(NOISE)[:1])


def run(bench: Bench, extent: Extent) -> dict[str, dict[str, Values]]:
    """All that is measured, by part and then by what it is of."""
    heads = SyntheticHeads.held_out_of(bench.folder)
    all_real, references = real_heads(), {case.name: case.reference for case in dlmuse.silver_cases()}
    grid = [
        (name, contrast, spacing)
        for name in list(heads.maps)[: extent.maps]
        for contrast in extent.contrasts
        for spacing in extent.spacings
    ]
    found = {
        "synthetic": {
            json.dumps(what): bench.find(
                "synthetic", lambda what=what: synthetic(bench, heads, *what), what=list(what)
            )
            for what in grid
        },
        "real": _each(
            bench,
            "real",
            list(all_real)[: extent.heads],
            lambda name: real(bench, name, all_real[name], references.get(name)),
        ),
        "contrasts": _each(bench, "contrasts", extent.patients, lambda name: contrasts(bench, name)),
        "mirrored": _each(bench, "mirrored", extent.twice, lambda name: mirrored(bench, all_real[name]())),
        "no brain": _each(
            bench, "no brain", list(bodies := no_brains()), lambda name: no_brain(bench, bodies[name])
        ),
        "speed": _each(bench, "speed", map(str, THREADS), lambda count: speed(bench, int(count))),
    }
    found["repeated"] = {
        f"{name}: {change}": bench.find(
            "repeated",
            lambda name=name, change=change: repeated(bench, all_real[name](), change),
            name=name,
            change=change,
        )
        for change in extent.changes
        for name in extent.twice
    }
    if torch.cuda.is_available():
        found["speed"]["GPU"] = bench.find("speed", lambda: speed_on_gpu(bench), name="GPU")
    return found


def _each(bench: Bench, part: str, names: Iterable[str], make: Callable[[str], Values]) -> dict[str, Values]:
    return {name: bench.find(part, lambda name=name: make(name), name=name) for name in names}


def arguments() -> argparse.Namespace:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--bundle", default=BUNDLE, help="another than medkit's, by its folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a config key")
    parser.add_argument("--quick", action="store_true", help="a little of everything; no table is written")
    parser.add_argument("--keep", action="store_true", help="write figures and pictures for the card")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw heads slice by slice, and no more")
    given = parser.parse_args()
    if given.keep and (given.quick or given.set or given.bundle != BUNDLE):
        parser.error("--keep takes figures of the bundle as it is and of all that is measured")
    return given


def main() -> None:
    given = arguments()
    folder = find_bundle(given.bundle)
    if not folder.weights.is_file():
        sys.exit(f"{folder.weights}: expected the bundle's weights, got no file; train it and adopt the run")
    results = Results(given.runs / "brain_anatomy" / "results.jsonl")
    bench = Bench(folder, results, parse_overrides(given.set), given.set)
    if given.pictures:
        draw_pictures(bench.fine, given.pictures)
        return
    found = run(bench, QUICK if given.quick else FULL)
    size = folder.weights.stat().st_size / 1e6
    text = document(found, size, describe())
    if not given.quick:
        given.output.write_text(text)
    if given.keep:
        shown = card_text(found, size, draw_for_card(bench.native, folder.root / "docs"))
        write_evaluation(sources_root() / BUNDLE, [folder.weights], metrics(found), shown)
    print(text)


if __name__ == "__main__":
    main()
