"""The README's walk behind a PACS, by its own blocks: a study is sent, delivered, looked at and checked."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time

from pydicom import dcmread

from tests.servers.processes import running
from tests.test_readme import ROOT, blocks

PATIENCE_SECONDS = 300
MEDKIT = [sys.executable, "-m", "medkit"]


def words(line: str) -> list[str]:
    """A line of the README as it is called here."""
    given = shlex.split(line.replace("CHECKOUT", str(ROOT)))
    return [*MEDKIT, *given[1:]] if given[0] == "medkit" else given


def lines(language: str, first: str) -> list[str]:
    (block,) = [block for block in blocks("README.md", language) if block.startswith(first)]
    return block.splitlines()


def test_a_study_goes_through(loopback, tool, tmp_path):
    tool("storescu")
    rules, service = blocks("README.md", "yaml")
    (tmp_path / "rules.yaml").write_text(rules)
    (tmp_path / "service.yaml").write_text(service)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def call(line: str) -> str:
        done = subprocess.run(
            words(line),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    *checks, serve = lines("bash", "mkdir results")
    for line in checks:
        call(line)
    log = tmp_path / "log"
    serving = ["env", f"--chdir={tmp_path}", f"PYTHONPATH={ROOT}", "OMP_NUM_THREADS=1", *words(serve)]
    with running(serving, [11112, 8090], log) as process:
        make, send = lines("text", "python CHECKOUT")
        call(make.replace("python", sys.executable, 1))
        call(send)
        watch = lines("bash", "medkit batch status batch\n")
        until = time.monotonic() + PATIENCE_SECONDS
        while json.loads(call(f"{watch[0]} --json"))["studies"]["delivered"] != 1:
            assert time.monotonic() < until, log.read_text()
            time.sleep(1)
        assert "nothing for a person to do" in call(watch[0])
        assert "delivered" in call(watch[1])
    assert process.returncode == 0, log.read_text()
    results = [dcmread(path) for path in (tmp_path / "results").rglob("*.dcm")]
    assert sorted(one.Modality for one in results) == ["OT", "OT", "SEG", "SEG", "SR", "SR"]
    assert {one.PatientID for one in results} == {"42"}
    for line in lines("bash", "medkit batch status batch --state"):
        call(line)
    assert "Doe" not in log.read_text()
