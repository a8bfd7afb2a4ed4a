"""Measure the host memory that predictions take, beside what medkit says that they will.

    python benchmarks/memory.py [--largest 160] [--set resample::dtype=$torch.float32] [--output benchmarks/memory.md]

Each prediction runs in a process of its own on a synthetic volume of the given size. What counts is the peak
of its resident memory less what it held once the bundle was loaded and had made one small prediction. A 1x1x1
convolution stands in for the bundle's network, so that channels and classes can be chosen and no time is
spent where the memory does not depend on the image; the rows marked "network" keep the bundle's own, and those with a
name are of another bundle as it is, on a real head (the MNI152 template). As in `medkit predict`, freed memory is kept.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from command_line import command_line
from machine import describe

BUNDLE = "hippocampus_segmentation_unet"
GIB = 2**30
SAME, FINE = (1.0, 1.0, 1.0), (0.7, 0.7, 1.5)
SHAPES = SMALL, MIDDLE, LARGE, _ = (128, 128, 128), (256, 256, 160), (384, 384, 200), (512, 512, 300)
# shape, spacing, channels, classes, cases, probabilities, the bundle's own network
JOBS = [
    *((shape, spacing, 1, 3, 1, False, False) for shape in SHAPES for spacing in (SAME, FINE)),
    *((MIDDLE, spacing, 1, 2, 1, False, False) for spacing in (SAME, FINE)),
    *((MIDDLE, spacing, 1, 14, 1, False, False) for spacing in (SAME, FINE)),
    *((MIDDLE, spacing, 4, 2, 1, False, False) for spacing in (SAME, FINE)),
    *((MIDDLE, spacing, 4, 5, 1, False, False) for spacing in (SAME, FINE)),
    (MIDDLE, (2.0, 2.0, 2.0), 1, 3, 1, False, False),
    *((LARGE, spacing, 1, 3, 3, False, False) for spacing in (SAME, FINE)),
    *((LARGE, spacing, 1, 3, 1, True, False) for spacing in (SAME, FINE)),
    *((SMALL, spacing, 1, 3, 1, False, True) for spacing in (SAME, FINE)),
    *(((512, 512, 600), spacing, 1, 3, 1, False, False) for spacing in (SAME, (0.8, 0.8, 1.0))),
]
# The same, and flips and whether uncertainty is judged.
EXTRAS = [
    *((LARGE, spacing, 1, 3, 1, False, False, "LR", False) for spacing in (SAME, FINE)),
    *((LARGE, spacing, 1, 3, 1, False, False, "LR", True) for spacing in (SAME, FINE)),
    (MIDDLE, SAME, 1, 14, 1, False, False, "LR,AP", True),
    (MIDDLE, SAME, 1, 14, 3, True, False, "", True),
]
# Bundles as they are, on the template.
HEADS = ("brain_anatomy_segmentation", "brain_extraction", "hippocampus_volumetry")
HEAD = ((197, 233, 189), SAME, 1, 3, 1, False, True, "", False)
FIELDS = (
    "shape",
    "spacing",
    "channels",
    "classes",
    "cases",
    "probabilities",
    "network",
    "flips",
    "uncertainty",
    "bundle",
)


def synthetic(shape: tuple[int, int, int], channels: int) -> np.ndarray:
    """A cylinder of noise in air, int16."""
    generator = np.random.default_rng(0)
    image = np.full((*shape, channels), -1000, np.int16)
    a, b = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    body = a**2 + b**2 < 0.8
    for k in range(shape[2]):
        image[:, :, k][body] = generator.normal(40, 60, (int(body.sum()), channels)).astype(np.int16)
    return image[..., 0] if channels == 1 else image


def resident(field: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (at the peak) of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def reset_peak() -> None:
    """Let the kernel count the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(job: dict) -> None:
    """The body of a child process: predict, and print the peaks as JSON."""
    import nibabel as nib
    import torch
    from nilearn.datasets import load_mni152_template

    from medkit.allocator import give_back_freed_memory, keep_freed_memory
    from medkit.bundle.overrides import parse_overrides
    from medkit.data import Case, Grid
    from medkit.errors import CaseError
    from medkit.inference import predictor
    from medkit.inference.loading import load_bundle
    from medkit.inference.memory import estimate_bytes
    from medkit.inference.run import RunOptions, predict_cases

    torch.set_num_threads(1)
    keep_freed_memory()
    shape, spacing, channels = tuple(job["shape"]), job["spacing"], job["channels"]
    overrides = parse_overrides(job["set"])
    bundle = load_bundle(job["bundle"], device="cpu", overrides=overrides, flips=job["flips"])
    if job["bundle"] == BUNDLE:
        bundle.input_format = {"num_channels": channels}
        bundle.output_format = {"num_channels": job["classes"]}
    if not job["network"]:
        bundle.network = torch.nn.Conv3d(channels, job["classes"], 1).eval()
    with suppress(CaseError):  # what knows brains refuses it once it has looked
        bundle.predict(
            np.random.default_rng(0).random((48, 48, 48, channels), np.float32), np.diag([*spacing, 1.0])
        )

    peaks: dict[str, int] = {}
    step = predictor._step

    @contextmanager
    def watched(name: str, *rest: object) -> Iterator[None]:
        reset_peak()
        with step(name, *rest):
            yield
        peaks[name] = max(peaks.get(name, 0), resident("VmHWM") - before)

    predictor._step = watched
    with tempfile.TemporaryDirectory() as folder:
        image = (
            nib.Nifti1Image(synthetic(shape, channels), np.diag([*spacing, 1.0]))
            if job["bundle"] == BUNDLE
            else load_mni152_template(resolution=1)
        )
        image.header.set_xyzt_units("mm")
        path = Path(folder) / "image.nii"
        nib.save(image, path)
        del image
        give_back_freed_memory()  # what the small prediction left
        before = resident("VmRSS")
        reset_peak()
        cases = [Case(str(number), (path,)) for number in range(job["cases"])]
        options = RunOptions(probabilities=job["probabilities"], uncertainty=job["uncertainty"])
        outcomes = predict_cases(bundle, cases, Path(folder) / "out", options)
        peaks["writing"] = resident("VmHWM") - before
    assert all(outcome.status == "done" for outcome in outcomes), outcomes
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    estimate = estimate_bytes(bundle, grid, channels, job["cases"], **options.kept)
    classes = int(bundle.output_format["num_channels"])
    print(json.dumps({**job, "classes": classes, "peaks": peaks, "estimate": estimate}))


def rows(largest: float, overrides: list[str]) -> Iterator[str]:
    """Measure every job of up to ``largest`` million voxels; a row for each."""
    jobs = [(*job, "", False, BUNDLE) for job in JOBS] + [(*job, BUNDLE) for job in EXTRAS]
    for values in [*jobs, *((*HEAD, bundle) for bundle in HEADS)]:
        job = {**dict(zip(FIELDS, values, strict=True)), "set": overrides}
        if math.prod(job["shape"]) > largest * 1e6:
            continue
        child = subprocess.run(
            [sys.executable, __file__, "--job", json.dumps(job)], capture_output=True, text=True, check=False
        )
        if child.returncode:
            sys.exit(child.stderr)
        yield row(json.loads(child.stdout.splitlines()[-1]))


NOTE = (
    "Peak of the resident memory beyond that of the loaded bundle, beside the estimate that `medkit predict` says and "
    "refuses by."
)
HEADER = """\
| voxels | spacing (mm) | channels | classes | cases | | measured (GiB) | estimate (GiB) | ratio | step |
|---|---|---|---|---|---|---|---|---|---|"""


def row(result: dict) -> str:
    """A measurement as a row of the table."""
    peak, estimate = max(result["peaks"].values()), result["estimate"]
    marks = [word for word in ("probabilities", "network", "uncertainty") if result[word]]
    marks += [f"flips {result['flips']}"] * bool(result["flips"])
    marks = marks if result["bundle"] == BUNDLE else [result["bundle"]]
    cells = [
        " x ".join(map(str, result["shape"])),
        " x ".join(f"{edge:g}" for edge in result["spacing"]),
        *(str(result[key]) for key in ("channels", "classes", "cases")),
        ", ".join(marks),
        *(f"{size / GIB:.2f}" for size in (peak, estimate)),
        f"{estimate / peak:.2f}",
        max(result["peaks"], key=lambda step: result["peaks"][step]),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, or run one job of it."""
    parser = command_line(__doc__, __file__)
    parser.add_argument("--largest", type=float, default=160, help="millions of voxels")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as medkit predict's")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        measure(json.loads(arguments.job))
        return
    lines = [HEADER]
    for line in rows(arguments.largest, arguments.set):
        print(line, flush=True)
        lines.append(line)
    arguments.output.write_text(
        f"# Host memory of a prediction\n\n{describe()}. {NOTE}\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
