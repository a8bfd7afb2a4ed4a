"""What an image's line of pip asks for is enough: a study is made where no other package can be seen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.docker.files import DOCKER, ROOT, calls, stages
from tests.docker.test_service import settings_in, study_in

PROJECT = "medkit-imaging"


def asked_for() -> set[str]:
    """The extras that the image for CPUs installs."""
    (stage,) = [one for one in stages(DOCKER / "Dockerfile")[1] if one.name == "packages-cpu"]
    ((*_, package),) = calls(stage, "pip")
    return set(re.fullmatch(r"\.\[(.+)\]", package)[1].split(","))


def requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a package asks for with extras; of medkit itself what its pyproject.toml says now."""
    if name == PROJECT:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        lists = [project["optional-dependencies"][extra] for extra in extras]
        yield from map(Requirement, [*project["dependencies"], *chain.from_iterable(lists)])
        return
    for requirement in map(Requirement, distribution(name).requires or []):
        asked = [{"extra": extra} for extra in extras or {""}]
        if requirement.marker is None or any(map(requirement.marker.evaluate, asked)):
            yield requirement


def needed(extras: set[str]) -> dict[str, Distribution]:
    """By name, what medkit requires with extras, and what that requires."""
    waiting, seen = [(PROJECT, frozenset(extras))], set()
    while waiting:
        at = waiting.pop()
        if at not in seen:
            seen.add(at)
            waiting += [(one.name, frozenset(one.extras)) for one in requirements(*at)]
    return {canonicalize_name(name): distribution(name) for name, _ in seen if name != PROJECT}


@pytest.fixture(scope="module")
def packages():
    return needed(asked_for())


@pytest.fixture(scope="module")
def bare(packages, tmp_path_factory):
    """The Python of an environment that has these packages alone, as links, and medkit's metadata."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    medkit = distribution(PROJECT)
    own = {name: Path(found.locate_file("")) for name, found in packages.items()}
    others = {
        Path(file).parts[0]
        for found in distributions()
        if canonicalize_name(found.metadata["Name"]) not in packages
        for file in found.files or []
    }
    # A checkout may have metadata of its own beside those of the environment, under the other name.
    names = {"METADATA", "PKG-INFO"}
    (info,) = [file.parts[0] for file in map(Path, medkit.files or []) if file.name in names]
    (site / info).symlink_to(Path(medkit.locate_file(info)))
    for name, found in packages.items():
        for file in map(Path, found.files or []):
            if file.parts[0] == "..":  # programs
                continue
            path = file if file.parts[0] in others else Path(file.parts[0])
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            if not (site / path).exists():
                (site / path).symlink_to(own[name] / path)
    return folder / "bin" / "python"


def call(bare: Path, *words: str | Path) -> subprocess.CompletedProcess:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([bare, *words], capture_output=True, text=True, env=environment, check=False)


def test_every_package_has_the_version_of_the_constraints(packages):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    assert {"torch", "highdicom", "pynetdicom", "prometheus-client"} <= packages.keys() <= pinned.keys()
    found = {name: Version(one.version).public for name, one in packages.items()}
    assert found == {name: pinned[name] for name in packages}


def test_no_other_package_is_there(bare):
    for name in ("mlflow", "distributed", "hypothesis", "pytest", "nilearn"):
        done = call(bare, "-c", f"import {name}")
        assert f"No module named '{name}'" in done.stderr


def test_a_study_is_made(bare, tmp_path):
    settings = settings_in(tmp_path / "medkit")
    study_in(tmp_path / "study")
    checked = call(bare, "-m", "medkit", "serve", settings, "--check")
    assert checked.returncode == 0, checked.stderr
    assert "hippocampus_segmentation_unet" in checked.stdout
    words = (
        "batch",
        "run",
        tmp_path / "study",
        "--rules",
        settings.parent / "rules.yaml",
        "--output",
        tmp_path / "night",
    )
    done = call(bare, "-m", "medkit", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    said = call(bare, "-m", "medkit", "batch", "status", tmp_path / "night", "--json")
    assert json.loads(said.stdout)["studies"]["delivered"] == 1, said.stdout
    assert len(list((tmp_path / "night" / "delivered").rglob("*.dcm"))) == 3
