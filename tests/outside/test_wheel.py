"""A wheel of the project, installed by pip, predicts from an environment that knows no source tree."""

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

import medkit
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
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of a fresh environment, into which pip has installed the wheel.

    Third-party packages are lent by the environment that runs the tests, through a path entry: that does not
    process the editable install of medkit which lies there. pip must not see it either, so the entry comes last.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"]
    done = run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    site = run(
        programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    )
    (Path(site.stdout.strip()) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return subprocess.run(
        words, cwd=cwd, env={**clean, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )


def test_wheel_carries_bundles_but_not_restricted_ones(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    own = "medkit/_bundles/hippocampus_segmentation_unet/"
    assert {
        f"{own}configs/inference.json",
        f"{own}configs/train.json",
        f"{own}docs/README.md",
        f"{own}LICENSE",
        f"{own}models/model.pt",
    } <= {*names}
    assert "medkit/_bundles/tiny_segmentation/models/model.pt" in names
    assert not [name for name in names if "restricted_segmentation" in name]
    assert not [name for name in names if "glioma_segmentation_agunet" in name]
    assert "medkit/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "benchmarks/"))]


def test_medkit_is_imported_from_the_new_environment(environment: Path, tmp_path: Path):
    query = "import importlib.metadata, medkit; print(medkit.__file__, importlib.metadata.version('medkit-imaging'))"
    where = run(environment / "python", "-c", query, cwd=tmp_path)
    file, version = where.stdout.split()
    assert Path(file).is_relative_to(environment.parent), where.stderr
    assert version == medkit.__version__


@pytest.mark.parametrize("bundle", ["tiny_segmentation", "hippocampus_segmentation_unet"])
def test_the_installed_program_predicts_by_the_name_of_a_bundle(
    environment: Path, tmp_path: Path, bundle: str
):
    write_hippocampus(tmp_path / "scan.nii.gz")
    listed = run(environment / "medkit", "bundle", "list", cwd=tmp_path)
    assert bundle in listed.stdout, listed.stderr
    done = run(environment / "medkit", "predict", bundle, "scan.nii.gz", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "labels" / "scan.nii.gz").is_file()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cases_done"] == 1


def test_the_installed_program_says_that_it_cannot_build(environment: Path, tmp_path: Path):
    done = run(environment / "medkit", "bundle", "build", cwd=tmp_path)
    assert done.returncode == 2
    assert "not in an installed wheel" in done.stderr
