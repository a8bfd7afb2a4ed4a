"""The README's walk behind a PACS, by its own blocks: a study is sent, delivered, looked at and checked."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib

from pydicom import dcmread

from tests.servers.processes import running
from tests.test_readme import ROOT, blocks

PATIENCE_SECONDS = 300
MEDKIT = [sys.executable, "-m", "medkit"]


def words(line: str) -> list[str]:
    """A line of the README as it is called here."""
    given = shlex.split(line)
    programs = {"medkit": MEDKIT, "python": [sys.executable]}
    return [*programs.get(given[0], given[:1]), *given[1:]]


def lines(language: str, first: str) -> list[str]:
    (block,) = [block for block in blocks("README.md", language) if block.startswith(first)]
    return block.splitlines()


def check_install(given: list[str]) -> None:
    """The lines make the environment that the others are typed in, with extras and constraints that there are."""
    make, activate, install = map(shlex.split, given)
    assert activate == [".", f"{make[-1]}/bin/activate"]
    assert (ROOT / install[install.index("-c") + 1]).is_file()
    extras = re.fullmatch(r"\.\[(.+)\]", install[-1])
    assert extras is not None
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) <= known.keys()


def test_a_study_goes_through(loopback, tmp_path):
    rules, service = blocks("README.md", "yaml")
    *installing, make_folders, enter = lines("bash", "python3 -m venv")
    check_install(installing)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    subprocess.run(shlex.split(make_folders), cwd=tmp_path, check=True)
    site = tmp_path / shlex.split(enter)[1]
    (site / "rules.yaml").write_text(rules)
    (site / "service.yaml").write_text(service)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def call(line: str) -> str:
        done = subprocess.run(
            words(line),
            cwd=site,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    *checks, serve = lines("bash", "medkit batch check-rules")
    for line in checks:
        call(line)
    log = tmp_path / "log"
    serving = ["env", f"--chdir={site}", f"PYTHONPATH={ROOT}", "OMP_NUM_THREADS=1", *words(serve)]
    with running(serving, [11112, 8090], log) as process:
        activate, enter_again, make, send = lines("bash", ". .venv")
        assert (activate, enter_again) == (installing[1], enter)
        call(make)
        call(send)
        watch = lines("bash", "medkit batch status batch\n")
        until = time.monotonic() + PATIENCE_SECONDS
        while json.loads(call(f"{watch[0]} --json"))["studies"]["delivered"] != 1:
            assert time.monotonic() < until, log.read_text()
            time.sleep(1)
        assert "nothing for a person to do" in call(watch[0])
        assert "delivered" in call(watch[1])
    assert process.returncode == 0, log.read_text()
    results = [dcmread(path) for path in (site / "results").rglob("*.dcm")]
    assert sorted(one.Modality for one in results) == ["OT", "OT", "SEG", "SEG", "SR", "SR"]
    assert {one.PatientID for one in results} == {"42"}
    for line in lines("bash", "medkit batch status batch --state"):
        call(line)
    assert "Doe" not in log.read_text()
