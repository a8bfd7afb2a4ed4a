"""What docs/batch.md has operators type, by its own lines: to find a patient, to keep a ledger, to deliver now."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest
from pydicom import dcmread

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import LedgerView, Stage, State
from medkit.batch.ledger.database import SCHEMA_VERSION
from medkit.batch.service.settings import WorkLimits, read_settings
from medkit.batch.spool import Spool, SpoolLimits
from medkit.cli import main
from medkit.dicom.writing.stubs import reduce_to_stub
from tests.batch.ledger.stories import Clock
from tests.batch.making.studies import write_study
from tests.batch.status.live import LiveBatch, study
from tests.dicom.writing import sources
from tests.test_readme import ROOT, blocks

PAGE = "docs/batch.md"
SHOWN = "fc556a1c4f19"


def block(language: str, word: str) -> str:
    (found,) = [one for one in blocks(PAGE, language) if word in one]
    return found


def shell(lines: str, folder: Path) -> str:
    """What lines print where medkit's environment is active."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", lines],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (lines, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def night(tmp_path):
    live = LiveBatch(tmp_path / "night", Clock(1_700_000_000.0))
    yield live
    live.ledger.close()


@pytest.mark.parametrize("number", ["A-0815", ""])
def test_the_patient_behind_a_hash(night, tmp_path, number):
    uid = f"{sources.ROOT}.1"
    night.ledger.receive(hash_uid(uid))
    spool = Spool(night.job.spool, SpoolLimits(free_bytes=0))
    for path in write_study(tmp_path / "files").iterdir():
        image = dcmread(path)
        image.AccessionNumber = number
        image.save_as(path)
        with path.open("rb") as file:
            spool.store(uid, path.stem, file)
    typed = block("bash", "pydicom show").replace(SHOWN, hash_uid(uid)[:12])
    said = shell(typed, tmp_path)
    assert f"PatientID: {image.PatientID}" in said
    assert " ".join(said.splitlines()[-1].split()) == f"(0008,0050) Accession Number SH: '{number}'"
    assert said.count("(0008,") == 1, "one line, and not the whole header"


def test_the_study_behind_a_result_that_was_reduced(night, tmp_path):
    night.make("a")
    (lying,) = night.job.results.rglob("*.dcm")
    reduce_to_stub(lying)
    show, _ = block("text", "::StudyInstanceUID").splitlines()
    assert shell(show.replace(SHOWN, study("a")[:12]), tmp_path).strip() == dcmread(lying).StudyInstanceUID


def test_a_ledger_is_kept_while_it_is_in_use(night, tmp_path, tool):
    tool("sqlite3")
    night.deliver("a")
    night.arrive("b")
    assert Path(f"{night.job.ledger}-wal").stat().st_size > 0, "or there is nothing to leave out"
    (tmp_path / "backup").mkdir()
    typed = block("bash", ".backup").replace("/var/lib/medkit", str(tmp_path))
    shell(typed.replace("/backup", str(tmp_path / "backup")), tmp_path)
    with LedgerView(tmp_path / "backup" / "ledger.sqlite") as kept:
        assert kept.counts() == night.ledger.counts()
        assert kept.faults() == []
    assert [one.name for one in (tmp_path / "backup" / "audit").iterdir()] == [
        one.name for one in night.job.audit.iterdir()
    ]


def test_a_ledger_of_another_schema_is_told_by_the_exit_code_of_the_page(night, tmp_path):
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    (code,) = re.findall(r"`medkit batch status FOLDER`\. It ends with (\d) where the ledger's schema", page)
    night.ledger.close()
    with sqlite3.connect(night.job.ledger) as ledger:
        ledger.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(SystemExit) as ended:
        main(["batch", "status", str(night.job.root)])
    assert ended.value.code == int(code)


def test_pythons_own_backup_of_a_ledger_in_a_container(night, tmp_path):
    night.deliver("a")
    (line,) = re.findall(
        r"`python (-c .*sqlite3.*)`", (ROOT / "docker/README.md").read_text(encoding="utf-8")
    )
    shell(f"python {line}".replace("/job", str(night.job.root)), tmp_path)
    with LedgerView(night.job.root / "backup.sqlite") as kept:
        assert (kept.counts(), kept.faults()) == (night.ledger.counts(), [])


def test_a_delivery_that_waits_is_tried_at_once(night, tmp_path):
    night.make("a")
    claim = night.ledger.claim(Stage.DELIVER)
    night.ledger.give_back(claim, "archive-down", "it does not answer", 3600)
    assert night.ledger.claim(Stage.DELIVER) is None
    # The commands go by the time of day, which is later than that of this batch.
    with sqlite3.connect(night.job.ledger) as ledger:
        ledger.execute("UPDATE revisions SET not_before = 4e9")
    night.clock.now = 3e9
    assert night.ledger.claim(Stage.DELIVER) is None
    said = shell(block("bash", "made=$("), tmp_path)
    assert f"retried {study('a')[:12]}: quarantined, now made" in said
    assert night.ledger.claim(Stage.DELIVER) is not None
    assert night.ledger.counts()[State.DELIVERING] == 1


def unit() -> str:
    return block("ini", "ExecStart")


def test_the_unit_stops_and_starts_as_the_service_needs_it():
    read = RawConfigParser()
    read.optionxform = str
    read.read_string(unit())
    service = read["Service"]
    assert service.getint("TimeoutStopSec") > 2 * WorkLimits().stop_seconds
    assert (service["Restart"], service["KillMode"], service["OOMPolicy"]) == ("always", "mixed", "continue")
    assert read["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["ExecStart"].startswith("/opt/medkit/bin/medkit serve ")


def test_systemd_takes_the_unit(tmp_path, tool):
    path = tmp_path / "medkit.service"
    path.write_text(unit().replace("/opt/medkit/bin/medkit", sys.executable), encoding="utf-8")
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_settings_of_a_shadow_beside_another_service(tmp_path):
    (rules,) = [one for one in blocks(PAGE, "yaml") if one.startswith("rules:")]
    (tmp_path / "rules.yaml").write_text(rules, encoding="utf-8")
    (tmp_path / "shadow.yaml").write_text(block("yaml", "# shadow.yaml"), encoding="utf-8")
    (whole,) = [one for one in blocks(PAGE, "yaml") if one.startswith("folder:")]
    (tmp_path / "service.yaml").write_text(whole, encoding="utf-8")
    shadow, other = (read_settings(tmp_path / name) for name in ("shadow.yaml", "service.yaml"))
    ((name, settings),) = shadow.bundles.items()
    assert settings.location.name == name
    assert shadow.job.root != other.job.root
    assert shadow.status_port != other.status_port
    assert {one.options["port"] for one in shadow.nodes}.isdisjoint(
        one.options["port"] for one in other.nodes
    )
