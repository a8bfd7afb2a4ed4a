from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from pydicom import dcmread

from medkit.batch.identity import hash_uid
from medkit.batch.intake.folder import FolderTaken
from medkit.batch.ledger import Ledger, Stage, State
from medkit.batch.service.settings import WorkLimits
from medkit.cli import batch_run, main
from medkit.dicom.confidentiality import KEY_VARIABLE, Deidentifier
from medkit.dicom.deidentification import deidentify
from medkit.errors import UsageError
from tests.batch.making.studies import PATIENT, another_series, write_study
from tests.batch.service.studies import study_hash, study_uid, write_numbered
from tests.batch.status.live import study

BUNDLE = "hippocampus_segmentation_unet"


# As `medkit`, but for the seconds between two attempts at the study that is broken.
IMPATIENT = (
    "import medkit.cli.batch_run as run; run._RETRY_SECONDS = 0.1; from medkit.cli import main; main()"
)


def run(folder, *arguments, **variables):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)} | variables
    call = [sys.executable, "-c", IMPATIENT, "batch", "run", *arguments, "--rules", "rules.yaml", "-o", "out"]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.yaml").write_text(
        f"rules: [{{name: mr, bundle: {BUNDLE}, inputs: {{image: {{modality: MR}}}}}}]\n", encoding="utf-8"
    )
    return tmp_path


def test_studies_of_a_folder_are_delivered_and_a_broken_one_is_told(folder):
    write_numbered(folder / "in" / "good", 0)
    whole = sorted(write_numbered(folder / "in" / "cut", 1).iterdir())
    whole[3].write_bytes(whole[3].read_bytes()[:-40])
    ended = run(folder, "in")
    assert ended.returncode == 3, ended.stderr
    assert "1 delivered, 0 skipped, 0 refused, 1 quarantined" in ended.stdout
    assert "instances-missing" in ended.stdout
    assert len(list((folder / "out" / "delivered" / study_hash(0)).iterdir())) == 3
    again = run(folder, "in")
    assert again.returncode == 3
    assert "1 delivered" in again.stdout


def test_why_a_study_is_skipped_is_told_and_is_no_failure(folder):
    rules = folder / "rules.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace("MR", "CT"), encoding="utf-8")
    write_numbered(folder / "in", 0)
    ended = run(folder, "in")
    assert ended.returncode == 0, ended.stderr
    assert "0 delivered, 1 skipped, 0 refused, 0 quarantined" in ended.stdout
    told = " ".join(ended.stdout.replace("│", " ").split())
    assert f"{study_hash(0)[:12]} skipped" in told
    assert "no-rule: rule 'mr': no series for 'image'" in told
    assert "modality MR, not CT" in told


def test_kinds_type_and_repairs_are_those_that_are_asked_for(folder):
    rules = folder / "rules.yaml"
    rules.write_text(
        rules.read_text(encoding="utf-8").replace("name: mr", "name: mr, series: each"), encoding="utf-8"
    )
    slices = sorted(write_numbered(folder / "in", 0).iterdir())
    slices[len(slices) // 2].unlink()
    refused = run(folder, "in", "--kind", "seg")
    assert (refused.returncode, "1 refused" in refused.stdout, "gap" in refused.stdout) == (4, True, True)
    with Ledger(folder / "out" / "ledger.sqlite", "somebody") as ledger:
        ledger.retry(study_hash(0), "with a repair")
    ended = run(folder, "in", "--kind", "seg", "--type", "LABELMAP", "--repair", "split-gaps")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    made = [dcmread(path) for path in (folder / "out" / "delivered" / study_hash(0)).iterdir()]
    assert {one.SOPClassUID for one in made} == {"1.2.840.10008.5.1.4.1.1.66.7"}, (
        "Label Map Segmentation Storage"
    )
    assert len(made) == 2, "one for each unbroken run of slices"


def test_results_about_nobody_belong_to_the_images_deidentified_with_the_same_key(folder):
    key = {KEY_VARIABLE: "sixteen bytes or"}
    write_numbered(folder / "in", 0)
    wrong = run(folder, "in", "--deidentify", "shift-dates", **{KEY_VARIABLE: ""})
    assert (wrong.returncode, f"{KEY_VARIABLE}: expected" in wrong.stderr) == (2, True), wrong.stderr
    ended = run(folder, "in", "--deidentify", "shift-dates", **key)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    deidentifier = Deidentifier(key[KEY_VARIABLE].encode(), shift_dates=True)
    deidentify(folder / "in", folder / "nobody", deidentifier)
    images = [dcmread(path) for path in (folder / "nobody").rglob("*.dcm")]
    results = sorted((folder / "out" / "delivered").rglob("*.dcm"))
    assert {path.parent.name for path in results} == {hash_uid(images[0].StudyInstanceUID)}
    made = {path: dcmread(path) for path in results}
    for one in made.values():
        for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate"):
            assert one[name] == images[0][name]
    (segmentation,) = (one for one in made.values() if one.Modality == "SEG")
    referred = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referred} == {one.SOPInstanceUID for one in images}
    content = b"".join(path.read_bytes() for path in results)
    told = [*PATIENT, study_uid(0), study_hash(0)]
    assert [text for text in told if text.encode() in content] == []
    again = run(folder, "in", "--deidentify", "shift-dates", **{KEY_VARIABLE: "another key, 16+"})
    assert (again.returncode, "name another folder" in again.stderr) == (2, True)
    assert sorted((folder / "out" / "delivered").rglob("*.dcm")) == results


def test_of_what_is_delivered_in_part_the_rest_is_told(folder):
    rules = folder / "rules.yaml"
    rules.write_text(
        rules.read_text(encoding="utf-8").replace("name: mr", "name: mr, series: each"), encoding="utf-8"
    )
    another_series(write_study(folder / "in"), "more")
    slices = sorted(
        (folder / "in" / "more").iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2]
    )
    slices[5].unlink()
    ended = run(folder, "in", "--kind", "seg")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "1 delivered (1 of them partly-refused), 0 skipped, 0 refused, 0 quarantined" in ended.stdout
    assert "partly-refused: 1 of 2" in ended.stdout
    log = (folder / "out" / "batch.log").read_text(encoding="utf-8")
    (line,) = [line for line in log.splitlines() if "study ended its making" in line]
    assert " warning " in line
    assert "1 of 2 series that rules want was refused (gap in series 4): series 4" in line
    assert len(list((folder / "out" / "delivered").rglob("*.dcm"))) == 1


def told(batch, capsys, taken, audit_broken=None):
    """What is said of a batch, once an input is taken, and the exit code."""
    service = SimpleNamespace(ledger=batch.ledger, audit_broken=audit_broken)
    with pytest.raises(click.exceptions.Exit) as ended:
        batch_run._tell(service, {Path("in"): taken}, Path("out"))
    return ended.value.exit_code, capsys.readouterr().out.splitlines()


def test_an_audit_log_that_was_changed_is_told_and_is_no_success(folder, batch, capsys):
    batch.deliver("a")
    code, lines = told(
        batch, capsys, FolderTaken(instances=1), "line 3: expected the hash of the line before"
    )
    assert (code, "audit log   line 3: expected the hash of the line before" in lines) == (3, True)
    (folder / "rules.yaml").write_text(
        f"rules: [{{name: ct, bundle: {BUNDLE}, inputs: {{image: {{modality: CT}}}}}}]\n", encoding="utf-8"
    )
    write_numbered(folder / "in", 0)
    assert run(folder, "in").returncode == 0
    (file,) = (folder / "out" / "audit").glob("*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"revision":1', b'"revision":7'))
    ended = run(folder, "in")
    assert ended.returncode == 4, ended.stderr  # nothing is delivered
    assert (
        f"audit log   {file.name}, line 1: expected another line here, as its hash was kept" in ended.stdout
    )
    with file.open("ab") as end:
        end.write(b"garbage\n")
    ended = run(folder, "in")
    assert (ended.returncode, "move its folder away, and keep it" in ended.stderr) == (4, True)


def test_a_study_of_which_something_is_still_to_come_is_no_success(batch, capsys):
    """Of a call with other inputs, say, that was killed."""
    batch.deliver("a")
    for name in ("awaited", "postponed"):
        batch.receive(name)
    code, lines = told(batch, capsys, FolderTaken(instances=1, postponed=[study("postponed")]))
    assert (code, lines[:2]) == (
        3,
        [
            "not taken   1 study: the disk is nearly full; make room, and call again",
            "not begun   1 study of which something is still to come: medkit batch status out --state receiving",
        ],
    )


def test_of_many_studies_each_kind_says_how_all_of_it_are_listed(batch, monkeypatch, capsys):
    monkeypatch.setattr(batch_run, "_SHOWN", 1)
    for number in range(3):
        batch.deliver(f"half {number}", refused="the left of two")
        batch.deliver(f"whole {number}")
        for state in (State.QUARANTINED, State.REFUSED, State.SKIPPED)[: number + 1]:
            batch.arrive(f"{state} {number}")
            batch._end(batch.ledger.claim(Stage.MAKE), state)
    code, lines = told(batch, capsys, FolderTaken(instances=1))
    assert (code, [line for line in lines if line.startswith("...")]) == (
        3,
        [
            "... and 2 more quarantined: medkit batch status out --state quarantined",
            "... and 1 more refused: medkit batch status out --state refused",
            "... and 2 more partly-refused: medkit batch status out --state delivered --code partly-refused",
        ],
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), WorkLimits()),
        (("--memory-gib", "1.5"), WorkLimits(memory_bytes=3 << 29)),
        (("--stage-seconds", "90"), WorkLimits(stage_seconds=90)),
    ],
)
def test_workers_are_bounded_as_is_asked_for(folder, monkeypatch, arguments, expected):
    """The service is told; nothing is run."""
    given = []

    def begin(settings, logs):
        given.append(settings.limits)
        raise UsageError("seen")

    monkeypatch.setattr("medkit.batch.service.supervisor.Supervisor", begin)
    rules, out = str(folder / "rules.yaml"), str(folder / "out")
    with pytest.raises(SystemExit):
        main(["batch", "run", str(folder), "--rules", rules, "--output", out, *arguments])
    assert given == [expected]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "INPUTS"),
        (("nowhere",), "nowhere"),
        (
            ("empty",),
            "empty: expected studies, got no file at all; check the path, and what is mounted there",
        ),
        (("--workers", "0", "in"), "--workers"),
        (("--memory-gib", "0", "in"), "--memory-gib"),
        (("--stage-seconds", "-1", "in"), "--stage-seconds"),
        (("--kind", "nifti", "in"), "--kind"),
        (("--type", "FRACTIONAL", "in"), "--type"),
        (("--repair", "all", "in"), "--repair"),
        (
            ("--repair", "resample", "in"),
            "expected repairs after which slices are still images of the series",
        ),
    ],
)
def test_a_wrong_call_is_told(folder, arguments, said):
    (folder / "empty" / "below").mkdir(parents=True)
    ended = run(folder, *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_input_without_dicom_is_no_success(folder):
    (folder / "in").mkdir()
    (folder / "in" / "readme.txt").write_text("the share is not mounted", encoding="utf-8")
    ended = run(folder, "in")
    assert ended.returncode == 4, ended.stderr
    assert "no DICOM    in: expected studies, got other files" in ended.stdout


def test_a_cluster_that_is_not_there_is_told(folder):
    (folder / "in").mkdir()
    write_numbered(folder / "in" / "good", 0)
    ended = run(folder, "in", "--scheduler", "tcp://127.0.0.1:9", "--in-flight", "2")
    assert ended.returncode == 2, ended.stderr
    assert "cluster: expected a scheduler at tcp://127.0.0.1:9, got:" in ended.stderr
    assert "Traceback" not in ended.stderr
