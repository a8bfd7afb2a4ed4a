"""100 hippocampus crops through three ways of running one bundle: seconds and peak memory, side by side.

    MEDKIT_DATA=... python benchmarks/predict.py [--cases 100] [--output benchmarks/predict.md]

- `medkit predict`, with and without pictures: one process, one model load, records, reports, volumes.
- `python -m monai.bundle run` on the same inference.json: one process, label maps only.
- a loop that starts `medkit predict` once a case, as people do with tools that process one scan a call; timed
  on ten cases and scaled.

The label maps of the first two must be voxel-identical, or no number is printed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
from command_line import command_line
from machine import describe

from medkit.bundle.store import find_bundle

BUNDLE = "hippocampus_segmentation_unet"
LOOP_CASES = 10


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident memory (GiB) of a process and its children."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak = max(peak, sum(p.memory_info().rss for p in family))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors[-2000:]}")
    return time.perf_counter() - start, peak / 2**30


def medkit(images: Path, output: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "medkit", "predict", BUNDLE, str(images), "-o", str(output), *options]


def monai(images: Path, output: Path) -> list[str]:
    root = find_bundle(BUNDLE).root
    config = ["--config_file", str(root / "configs" / "inference.json"), "--bundle_root", str(root)]
    return [
        sys.executable, "-m", "monai.bundle", "run", *config, "--dataset_dir", str(images), "--output_dir", str(output),
    ]  # fmt: skip


def check_identical(ours: Path, theirs: Path, count: int) -> None:
    names = sorted(path.name for path in ours.glob("*.nii.gz"))
    if len(names) != count:
        sys.exit(f"{ours}: expected {count} label maps, got {len(names)}")
    for name in names:
        a, b = (np.asarray(nib.load(folder / name).dataobj) for folder in (ours, theirs))
        if not np.array_equal(a, b):
            sys.exit(f"{name}: medkit's label map differs from MONAI's; no number is worth printing")


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--cases", type=int, default=100)
    arguments = parser.parse_args()
    source = Path(os.environ["MEDKIT_DATA"]) / "hippocampus" / "images"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        chosen = sorted(source.glob("*.nii.gz"))[: arguments.cases]
        for path in chosen:
            shutil.copy2(path, images / path.name)
        count = len(chosen)
        rows = {
            "medkit predict": measure(medkit(images, folder / "ours")),
            "medkit predict --no-pictures": measure(medkit(images, folder / "plain", "--no-pictures")),
            "python -m monai.bundle run": measure(monai(images, folder / "theirs")),
        }
        check_identical(folder / "ours" / "labels", folder / "theirs", count)
        loop = [measure(medkit(path, folder / "loop")) for path in chosen[:LOOP_CASES]]
        scaled = sum(seconds for seconds, _ in loop) / len(loop) * count
        rows["a process a case"] = (scaled, max(memory for _, memory in loop))
    base = rows["python -m monai.bundle run"][0]
    table = ["| way | seconds | against monai.bundle run | peak memory GiB |", "|---|---|---|---|"]
    table += [f"| {way} | {s:.1f} | {s / base:.2f} | {m:.2f} |" for way, (s, m) in rows.items()]
    text = (
        f"# {count} hippocampus crops\n\n{describe()}. Label maps of medkit and MONAI: voxel-identical.\n\n"
    )
    arguments.output.write_text(text + "\n".join(table) + "\n")
    print("\n".join(table))


if __name__ == "__main__":
    main()
