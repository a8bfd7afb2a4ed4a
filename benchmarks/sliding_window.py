"""Measure a segmentation from file to written label: MONAI's parts, medkit's, and what each of these gives.

    MEDKIT_DATA=... python benchmarks/sliding_window.py [--rounds 2] [--threads 4] [--voxel 1] [--output FILE]

The image is the CT of `abdomen_ct_mr`, resampled to 1 mm. Each way runs in a process of its own. First with a 1x1x1
convolution in the network's place: that shows all that is not the network. Then with a SegResNet of 14 classes with
random weights, whose time is told apart; it marks mixed labels nearly everywhere and so is the hardest case for
medkit's way back to the image's grid. Each as often as there are rounds. With the network, medkit is set against each
way of MONAI's alone, and so against the best of them; the aim is judged by these ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from command_line import command_line
from machine import describe
from memory import GIB, reset_peak, resident
from timing import note

CLASSES, ROI, SPACING = 14, (96, 96, 96), (1.5, 1.5, 1.5)
WINDOWS = {"roi_size": ROI, "overlap": 0.5, "mode": "gaussian"}


class Way(NamedTuple):
    """Resampling in double precision (MONAI's default) or single; whose inferer; whose way back; how many windows the
    network gets at a time; whether it computes channels-last; and whether with the norms of :mod:`medkit.networks`."""

    precision: str = "float32"
    windows: str = "monai"
    back: str = "monai"
    at_a_time: int = 1
    last: bool = False
    own_norm: bool = False


FIRST, MEDKIT = "MONAI, as it comes", "+ medkit's group norm: medkit"
STAND_IN, NETWORK = "stand-in", "network"
ALONE = {
    FIRST: Way("float64"),
    "MONAI, resampling in float32": Way(),
    "+ windows summed slab by slab": Way(windows="slabs"),
    "+ labels made plane by plane": Way(windows="slabs", back="planes"),
    "+ both joined": Way(windows="joined", back="joined"),
}
WITH_NETWORK = {
    FIRST: Way("float64"),
    "MONAI, resampling in float32": Way(),
    "MONAI, float32, four windows at a time": Way(at_a_time=4),
    "MONAI, float32, four windows, channels-last": Way(at_a_time=4, last=True),
    "+ windows and labels joined": Way(windows="joined", back="joined", at_a_time=4, last=True),
    MEDKIT: Way(windows="joined", back="joined", at_a_time=4, last=True, own_norm=True),
}
RUNS = {STAND_IN: ALONE, NETWORK: WITH_NETWORK}
AIM_SPEED, AIM_PEAK = 2.0, 1 / 3


class Clock:
    """Seconds of the clock and of the processors since it was made, and those spent in the network."""

    def __init__(self) -> None:
        self.start, self.network = self._now(), (0.0, 0.0)

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def timed(self, network: Callable[..., Any]) -> Callable[..., Any]:
        def call(windows: Any) -> Any:
            begin = self._now()
            output = network(windows)
            self.network = tuple(
                sum_ + b - a for sum_, a, b in zip(self.network, begin, self._now(), strict=True)
            )
            return output

        return call

    @contextmanager
    def stopped(self) -> Iterator[None]:
        begin = self._now()
        yield
        self.start = tuple(start + b - a for start, a, b in zip(self.start, begin, self._now(), strict=True))

    def seconds(self) -> dict[str, float]:
        both = [b - a for a, b in zip(self.start, self._now(), strict=True)]
        return {
            "network": self.network[0],
            "rest": both[0] - self.network[0],
            "rest_cpu": both[1] - self.network[1],
        }


def pipeline(way: str, kind: str, folder: Path) -> tuple[Any, Any, list[Any], Any]:
    """Preprocessing, inferer, postprocessing (the writer last), network."""
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import SegResNet
    from monai.transforms import (
        Activationsd,
        AsDiscreted,
        Compose,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    from medkit.inference.native_labels import NativeLabelInferer
    from medkit.inference.sliding_window import SlabInferer
    from medkit.networks.group_norm import NORM
    from medkit.transforms.native_labels import NativeLabelsd

    precision, windows, back, at_a_time, last, own_norm = RUNS[kind][way]
    torch.manual_seed(0)
    network: torch.nn.Module = torch.nn.Conv3d(1, CLASSES, 1)
    if kind == NETWORK:
        norm = (NORM if own_norm else "GROUP", {"num_groups": 8})
        network = SegResNet(spatial_dims=3, in_channels=1, out_channels=CLASSES, init_filters=8, norm=norm)
    if last:
        network = network.to(memory_format=torch.channels_last_3d)
    network.eval()
    before = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", SPACING, mode="bilinear", dtype=getattr(torch, precision)),
            ScaleIntensityRanged("image", -175, 250, 0, 1, clip=True),
        ]
    )
    make = SlidingWindowInferer if windows == "monai" else SlabInferer
    inferer = make(**WINDOWS, sw_batch_size=at_a_time)
    after: list[Any] = []
    if back == "monai":
        after.append(Activationsd("pred", softmax=True))
        after.append(Invertd("pred", before, "image", nearest_interp=False))
        after.append(AsDiscreted("pred", argmax=True))
    elif back == "planes":
        after.append(NativeLabelsd("pred", before, "image", softmax=True))
    else:
        inferer = NativeLabelInferer(inferer, before, softmax=True)
    after.append(
        SaveImaged("pred", output_dir=folder, output_postfix="", separate_folder=False, print_log=False)
    )
    return before, inferer, after, network


def measure(way: str, kind: str, image: Path, folder: Path, threads: int) -> None:
    """The body of a child process: from file to label; print seconds and peaks as JSON."""
    import torch
    from monai.data import decollate_batch, list_data_collate

    torch.set_num_threads(threads)
    before, inferer, after, network = pipeline(way, kind, folder)
    start, peak = resident("VmRSS"), 0
    clock = Clock()
    with torch.no_grad():
        batch = list_data_collate([before({"image": str(image)})])
        batch["pred"] = inferer(batch["image"], clock.timed(network))
        item = decollate_batch(batch)[0]
        del batch
        for step in after:
            if way == FIRST and type(step).__name__ == "AsDiscreted":
                peak = resident("VmHWM")
                with clock.stopped():
                    save_margins(item["pred"], folder)
                reset_peak()
            item = step(item)
    print(json.dumps({"seconds": clock.seconds(), "peak": max(peak, resident("VmHWM")), "start": start}))


def save_margins(probabilities: Any, folder: Path) -> None:
    """The three greatest classes of every voxel, and by how much the first is ahead of each."""
    planes = [probabilities.as_tensor()[:, i].topk(3, dim=0) for i in range(probabilities.shape[1])]
    np.save(folder / "classes.npy", np.stack([plane.indices.numpy().astype(np.uint8) for plane in planes], 1))
    margins = [(plane.values[0] - plane.values).numpy() for plane in planes]
    np.save(folder / "margins.npy", np.stack(margins, 1))


def disagreement(folder: Path, reference: Path) -> tuple[int, float]:
    """Voxels whose label is not the reference's, and by how much that was ahead at most; inf from the fourth on."""
    found = np.asarray(nib.load(folder / "ct.nii.gz").dataobj)
    expected = np.asarray(nib.load(reference / "ct.nii.gz").dataobj)
    differ = found != expected
    classes, margins = (np.load(reference / f"{name}.npy")[:, differ] for name in ("classes", "margins"))
    behind = np.where(classes == found[differ], margins, np.inf).min(axis=0, initial=np.inf)
    return int(differ.sum()), float(behind.max(initial=0.0))


def upsample(source: Path, target: Path, voxel: float) -> tuple[int, ...]:
    """Write the image with voxels of so many millimetres."""
    from nibabel.processing import resample_to_output

    fine = resample_to_output(nib.load(source), [voxel] * 3, order=1, cval=-1000)
    nib.save(nib.Nifti1Image(np.round(np.asarray(fine.dataobj)).astype(np.int16), fine.affine), target)
    return fine.shape


def child(way: str, kind: str, image: Path, folder: Path, threads: int) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    job = json.dumps([way, kind, str(image), str(folder), threads])
    run = subprocess.run(
        [sys.executable, __file__, "--job", job],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def measured(kind: str, image: Path, folder: Path, rounds: int, threads: int) -> list[Row]:
    """All ways in turn, round after round."""
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in RUNS[kind]}
    for number in range(rounds):
        for way in results:
            results[way].append(child(way, kind, image, folder / way, threads))
            note(f"{kind}, round {number + 1}, {way}: {results[way][-1]}")
    differ = {way: disagreement(folder / way, folder / FIRST) for way in results}
    return rows(RUNS[kind], results, differ)


def median(results: list[dict[str, Any]], name: str) -> float:
    return float(np.median([result["seconds"][name] for result in results]))


class Row(NamedTuple):
    """Seconds are medians of the rounds, the network's the least of all ways that run it alike, peaks the highest.

    Args:
        way: its name.
        network: seconds.
        rest: seconds.
        rest_cpu: seconds of all threads.
        peak: bytes of the process.
        beyond: of these, those beyond what the process held before the image was read.
        differ: voxels whose label is not the first way's.
        margin: by how much, at most, that was ahead.
    """

    way: str
    network: float
    rest: float
    rest_cpu: float
    peak: int
    beyond: int
    differ: int
    margin: float

    @property
    def total(self) -> float:
        return self.network + self.rest


def rows(
    ways: dict[str, Way], results: dict[str, list[dict[str, Any]]], differ: dict[str, tuple[int, float]]
) -> list[Row]:
    networks = {way: [result["seconds"]["network"] for result in rounds] for way, rounds in results.items()}
    return [
        Row(
            way,
            min(min(times) for other, times in networks.items() if ways[other][3:] == ways[way][3:]),
            median(rounds, "rest"),
            median(rounds, "rest_cpu"),
            max(result["peak"] for result in rounds),
            max(result["peak"] - result["start"] for result in rounds),
            *differ[way],
        )
        for way, rounds in results.items()
    ]


def table(found: list[Row]) -> str:
    first, lines = found[0], [HEADER]
    for row in found:
        cells = [
            row.way,
            *(f"{seconds:.1f}" for seconds in (row.network, row.rest, row.rest_cpu, row.total)),
            *(f"{getattr(first, name) / getattr(row, name):.2f}" for name in ("total", "rest", "rest_cpu")),
            *(f"{size / GIB:.2f}" for size in (row.peak, row.beyond)),
            f"{row.peak / first.peak:.2f}",
            f"{row.differ}" + (f" ({row.margin:.0e})" if row.differ else ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


HEADER = """\
| | network (s) | rest (s) | rest, CPU (s) | total (s) | x total | x rest | x rest, CPU | peak (GiB) | beyond start (GiB) | of the first | differ |
|---|---|---|---|---|---|---|---|---|---|---|---|"""  # noqa: E501


def comparison(found: list[Row]) -> str:
    """medkit beside each way of MONAI's alone, and what that says of the aim."""
    medkit = next(row for row in found if row.way == MEDKIT)
    monai = [row for row in found if WITH_NETWORK[row.way].back == "monai"]
    first, fastest, least = (
        found[0],
        min(monai, key=lambda row: row.total),
        min(monai, key=lambda row: row.peak),
    )
    lines = ["| medkit against | times the speed | of the peak memory |", "|---|---|---|"]
    for row in monai:
        best = [what for what, one in (("fastest", fastest), ("least memory", least)) if row is one]
        name = f"{row.way} ({', '.join(best)})" if best else row.way
        lines.append(f"| {name} | {row.total / medkit.total:.2f} | {medkit.peak / row.peak:.2f} |")
    best = fastest.way if fastest is least else f"{fastest.way}, in time; {least.way}, in memory"
    ties = f", where they are {medkit.margin:.0e} apart in probability at most" if medkit.differ else ""
    return (
        "\n".join(lines)
        + f"\n\nAim: {AIM_SPEED:g} times the speed and a third of the peak memory of the same pipeline "
        "of MONAI's `SlidingWindowInferer`, `Invertd` and `SaveImaged`, with labels equal but for ties. Measured: "
        f"{met(first.total / medkit.total, medkit.peak / first.peak)} against MONAI as it comes; "
        f"{met(fastest.total / medkit.total, medkit.peak / least.peak)} against the best row of MONAI ({best}). "
        f"Labels differ from those of MONAI as it comes in {medkit.differ} voxels{ties}."
    )


def met(speed: float, peak: float) -> str:
    fast, small = ("met" if reached else "not met" for reached in (speed >= AIM_SPEED, peak <= AIM_PEAK))
    return f"{speed:.2f} times the speed ({fast}) and {peak:.2f} of the peak ({small})"


def main() -> None:
    """Print the tables, or run one way."""
    parser = command_line(__doc__, __file__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--voxel", type=float, default=1, help="edge of the image's voxels in mm")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        way, kind, image, folder, threads = json.loads(arguments.job)
        measure(way, kind, Path(image), Path(folder), threads)
        return
    source = Path(os.environ["MEDKIT_DATA"]) / "abdomen_ct_mr" / "example_ct.nii.gz"
    with tempfile.TemporaryDirectory() as name:
        image, folder = Path(name) / "ct.nii.gz", Path(name)
        shape = upsample(source, image, arguments.voxel)
        found = {kind: measured(kind, image, folder, arguments.rounds, arguments.threads) for kind in RUNS}
    text = (
        f"# A segmentation from file to written label\n\n{describe()}; {arguments.threads} threads. "
        f"{explanation(shape, arguments.voxel, arguments.rounds)}\n\n"
        f"## With the network\n\n{table(found[NETWORK])}\n\n"
        f"## With a 1x1x1 convolution in its place\n\n{table(found[STAND_IN])}\n\n"
        f"## medkit against MONAI alone, with the network\n\n{comparison(found[NETWORK])}\n"
    )
    print(text)
    arguments.output.write_text(text)


def explanation(shape: tuple[int, ...], voxel: float, rounds: int) -> str:
    sides = " x ".join(map(str, shape))
    return (
        f"CT of {sides} voxels of {voxel:g} mm, network on 1.5 mm: SegResNet, {CLASSES} classes, random weights; "
        f"windows of {ROI[0]}^3, one at a time unless said, overlap {WINDOWS['overlap']}, {WINDOWS['mode']}. All "
        "ways run the network on the same windows: its time is the least of all rows that run it in the same way, the "
        f"rest is the median of the rounds ({rounds}), and the total is both. A column with x says how "
        "many times as fast as the first row; seconds of CPU are those of all threads, and less moved by what else the "
        "machine does. A row with a plus adds to the one above it. Last, how many labels differ from the first "
        "row's, and in brackets by how much, at most, the probability of the one was ahead of that of the other."
    )


if __name__ == "__main__":
    main()
