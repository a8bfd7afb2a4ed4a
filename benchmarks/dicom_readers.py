"""What readers make of every kind of DICOM series in ``tests/dicom_series``, and how long they take.

    python benchmarks/dicom_readers.py [--others PYTHON] [--kinds NAME ...] [--readers NAME ...] [--times]
        [--work runs/dicom_readers] [--output benchmarks/dicom_readers.md]

Every voxel of every volume is compared with the truth at its place in millimetres. A reader is right where it gives
just the volumes that a right reader gives, wrong where it gives something else without an error, and refuses where it
gives nothing. MONAI's default reader needs itk, and dicom2nifti is no part of medkit's environment: ``--others`` names
an interpreter that has numpy, nibabel, monai, itk and dicom2nifti. dcm2niix must be on the path. A reader that is not
there has no column. Verdicts stand in ``--work``; a run that was stopped goes on, and does again what another
generator, another seed or another version of the reader gave. ``--times`` measures in place of judging.
"""

import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from command_line import command_line
from dicom_readers_tables import kind_table, reason_list, summary_table, time_table
from dicom_readers_ways import READERS
from dicom_readers_worker import Worker, python_of
from machine import describe
from results import Results

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.dicom_series import KINDS, Kind, judge, make  # noqa: E402
from tests.dicom_series.grids import grid  # noqa: E402
from tests.dicom_series.stacks import Coding, Stack  # noqa: E402

# These run where --others points.
FOREIGN = ("MONAI", "dicom2nifti")
WITH_REPAIRS = "medkit, repairs on request"
SEED = 0
TIMED_SLICES, TIMED_SIZE, TIMED_REPEATS = 200, 512, 5


def digest(*folders: Path) -> str:
    """Of the sources below folders, without their tests."""
    found = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        found.update(b"" if path.name.startswith("test_") else path.read_bytes())
    return found.hexdigest()[:16]


# As they are when the run begins.
GENERATOR, MEDKIT = digest(ROOT / "tests" / "dicom_series"), digest(ROOT / "medkit" / "dicom")

EXPLAINED = """\
Right: just the volumes that a right reader gives, every voxel at its place with its value. Refused: an error, or no
volume. Silently wrong: anything else. Kinds with ° may be refused: something is missing, contradicts itself or cannot
be told apart, and a careful person would ask; volumes that are right all the same count as right. dcm2niix writes a
volume with the tilt undone or the distances made even beside the raw one: the better one is judged, as a repair.
Pictures in colour that a reader writes as such are not counted against it.
"""


def columns(readers: Iterable[str]) -> list[str]:
    """Readers as columns: medkit has two."""
    found = []
    for reader in readers:
        found += [reader, WITH_REPAIRS] if reader == "medkit" else [reader]
    return found


def verdict(worker: Worker, kind: Kind, repairs: bool) -> dict[str, Any]:
    """Makes a series, has it read, and judges what came."""
    with tempfile.TemporaryDirectory() as place:
        folder, output = Path(place) / "series", Path(place) / "volumes.npz"
        truth = make(kind.name, folder, SEED)
        task: dict[str, Any] = {"folder": str(folder), "output": str(output)}
        if repairs:
            task |= {"repairs": list(kind.repairs), "picks": dict(kind.picks)}
        answer = worker.read(task)
        volumes = []
        if output.is_file():
            with np.load(output) as arrays:
                count = len(arrays.files) // 2
                volumes = [(arrays[f"a{number}"], arrays[f"m{number}"]) for number in range(count)]
    found = judge(truth, volumes, refusals=answer["refusals"], repaired=answer["repaired"])
    reason = answer["error"] if found.outcome == "refused" and answer["error"] else found.reason
    return {"outcome": str(found.outcome), "reason": reason, "readable": truth.readable}


def judged(results: Results, column: str, worker: Worker, kinds: Iterable[Kind]) -> dict[str, dict[str, Any]]:
    """Verdicts of one column by kind, from the record where it has them."""
    found = {}
    sources = {"generator": GENERATOR} | ({"medkit": MEDKIT} if worker.reader == "medkit" else {})
    repairs = column == WITH_REPAIRS
    for kind in kinds:
        key = {"reader": column, "versions": worker.hello["versions"], "kind": kind.name, "seed": SEED}
        found[kind.name] = results.get_or_make(
            key | sources, lambda kind=kind: verdict(worker, kind, repairs)
        )
    return found


def seconds_of(worker: Worker, folder: Path) -> float | None:
    """Median of the times of 200 slices, in a process that has read them once; None where it fails."""
    answer = worker.read({"folder": str(folder), "repeats": TIMED_REPEATS + 1}, limit=600)
    return None if answer["error"] else statistics.median(answer["seconds"][1:])


def timed(workers: dict[str, Worker]) -> dict[str, float | None]:
    """Seconds by reader."""
    with tempfile.TemporaryDirectory() as place:
        rng = np.random.default_rng(SEED)
        size = (TIMED_SIZE, TIMED_SIZE, TIMED_SLICES)
        stack = Stack(rng, grid(rng, shape=size), coding=Coding(bits_stored=16), scale=0.02, offset=2000.0)
        stack.write(Path(place))
        return {name: seconds_of(worker, Path(place)) for name, worker in workers.items()}


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--others", help="interpreter that has itk and dicom2nifti")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS), metavar="NAME")
    parser.add_argument("--readers", nargs="*", choices=list(READERS), default=list(READERS), metavar="NAME")
    parser.add_argument("--times", action="store_true", help="measure, and keep the verdicts of the last run")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "dicom_readers")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    workers, missing = {}, {}
    for reader in arguments.readers:
        log = arguments.work / f"{reader.replace(' ', '_')}.log"
        worker = Worker(reader, python_of(reader, arguments.others, FOREIGN), log)
        hello = worker.start()
        if "missing" in hello:
            missing[reader] = hello["missing"]
            worker.stop()
            print(f"{reader}: {hello['missing']}")
        else:
            workers[reader] = worker
    times_file = arguments.work / "times.json"
    if arguments.times:
        times_file.write_text(json.dumps(timed(workers), indent=1))
    results = Results(arguments.work / "verdicts.jsonl")
    kinds = [KINDS[name] for name in arguments.kinds]
    verdicts = {}
    for reader, worker in workers.items():
        for column in columns([reader]):
            verdicts[column] = judged(results, column, worker, kinds)
            counts = [row["outcome"] for row in verdicts[column].values()]
            print(column, {name: counts.count(name) for name in ("right", "refused", "wrong")}, flush=True)
        worker.stop()
    times = json.loads(times_file.read_text()) if times_file.is_file() else {}
    versions = (worker.hello["versions"].split(", ") for worker in workers.values())
    named = ", ".join(dict.fromkeys(name for names in versions for name in names))
    arguments.output.write_text(page(kinds, verdicts, times, named, missing))


def page(
    kinds: list[Kind],
    verdicts: dict[str, dict[str, dict[str, Any]]],
    times: dict[str, float | None],
    named: str,
    missing: dict[str, str],
) -> str:
    """The whole table as Markdown."""
    first = next(iter(verdicts.values()))
    rows = {
        group: [
            {"name": kind.name, "about": kind.about, "readable": first[kind.name]["readable"]}
            for kind in kinds
            if kind.group == group
        ]
        for group in dict.fromkeys(kind.group for kind in kinds)
    }
    readable = sum(row["readable"] for row in first.values())
    parts = [
        "# Readers of DICOM series",
        f"{describe()}; {named}.",
        *([f"Not installed here: {', '.join(missing)}."] if missing else []),
        f"{len(kinds)} kinds of generated series (`tests/dicom_series`), {readable} of which a reader can give as "
        "they come.",
        EXPLAINED,
        summary_table({name: list(found.values()) for name, found in verdicts.items()}),
    ]
    if times:
        parts += [
            "## Time",
            f"{TIMED_SLICES} slices of {TIMED_SIZE}x{TIMED_SIZE}, 16 bits, not compressed, from a warm disk; median "
            f"of {TIMED_REPEATS}.",
            time_table(times),
        ]
    parts.append("## By kind")
    for group, of_group in rows.items():
        parts += [f"### {group.capitalize()}", kind_table(of_group, verdicts)]
    parts += ["## What was wrong", reason_list(verdicts)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    main()
