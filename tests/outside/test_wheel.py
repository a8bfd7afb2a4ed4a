"""A wheel of the project carries its bundles, and predicts from an environment that knows no source tree."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.phantoms import write_hippocampus
from tests.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy that has one bundle more, with weights, and one that must not be shipped."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    for name in ("medkit", "bundles"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    tiny = make_tiny_bundle(source / "bundles")
    restricted = source / "bundles" / "restricted_segmentation"
    shutil.copytree(tiny, restricted)
    metadata = restricted / "configs" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "commercial_use": False}))
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; third-party packages are lent by the one that runs the tests.

    They come in through a path entry, which does not process the editable install of medkit that lies there.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(
        subprocess.run([python, "-c", query], capture_output=True, text=True, check=True).stdout.strip()
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run([python, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_wheel_carries_bundles_but_not_restricted_ones(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    own = "medkit/_bundles/hippocampus_segmentation_unet/"
    assert {
        f"{own}configs/inference.json",
        f"{own}configs/train.json",
        f"{own}docs/README.md",
        f"{own}LICENSE",
    } <= {*names}
    assert "medkit/_bundles/tiny_segmentation/models/model.pt" in names
    assert not [name for name in names if "restricted_segmentation" in name]
    assert "medkit/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "benchmarks/"))]


def test_wheel_predicts_by_the_name_of_its_bundle(python: Path, tmp_path: Path):
    write_hippocampus(tmp_path / "scan.nii.gz")
    where = run(python, "-c", "import medkit; print(medkit.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(python.parents[1]), where.stderr
    listed = run(python, "-m", "medkit", "bundle", "list", cwd=tmp_path)
    assert "tiny_segmentation" in listed.stdout, listed.stderr
    done = run(
        python, "-m", "medkit", "predict", "tiny_segmentation", "scan.nii.gz", "-o", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "labels" / "scan.nii.gz").is_file()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["cases_done"] == 1


def test_wheel_says_that_it_cannot_build(python: Path, tmp_path: Path):
    done = run(python, "-m", "medkit", "bundle", "build", cwd=tmp_path)
    assert done.returncode == 2
    assert "not in an installed wheel" in done.stderr
