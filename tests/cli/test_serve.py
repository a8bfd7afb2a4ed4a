"""``medkit serve`` as far as it gets without serving; the rest is in tests/batch/service/test_serving.py."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from medkit.batch.audit import AuditError, AuditLog
from medkit.batch.service import supervisor as module
from medkit.batch.service.settings import read_settings
from medkit.bundle.store import find_bundle
from medkit.cli.serve import command
from medkit.dicom.network.node import StorageNode
from medkit.errors import UsageError
from medkit.inference.loading import load_bundle
from tests.batch.service.test_settings import SMALL, write
from tests.servers.loopback import free_port


@pytest.fixture
def ready(tmp_path, tiny_root):
    """A file with which a service begins, though its watched folder is not there yet."""
    (tmp_path / "results").mkdir()
    return write(
        tmp_path,
        f"{SMALL}bundles: {{brain: {{location: {tiny_root}}}}}\nlimits: {{free_gib: 0}}\nstatus: {{port: 0}}\n",
    )


@pytest.fixture
def here(monkeypatch):
    """What is asked of bundles is asked in this process, which has PyTorch already."""
    monkeypatch.setattr("medkit.batch.service.checks.ask_elsewhere", lambda _, what, ask, *given: ask(*given))


def check(config, *options):
    return CliRunner().invoke(command, [str(config), "--check", *options])


def test_a_file_is_checked_and_nothing_is_begun(tmp_path, tiny_root, ready):
    (tmp_path / "incoming").mkdir()
    done = check(ready)
    assert (done.exit_code, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"{ready}: 1 rule, 1 worker; nothing wrong"
    folder = find_bundle(tiny_root)
    assert second == f"bundle {folder.name}: version {folder.metadata['version']}, digest {folder.digest()}"
    assert not (tmp_path / "night").exists()


def test_a_bundle_is_told_as_it_runs_with_its_overrides(tmp_path, tiny_root, ready, here):
    ready.write_text(
        ready.read_text().replace("{location", "{overrides: {'inferer::overlap': 0.25}, location")
    )
    with ready.open("a") as file:
        file.write("workers: 2\n")
    first, second = check(ready).stdout.splitlines()
    assert first.startswith(f"{ready}: 1 rule, 2 workers; ")
    assert second.endswith(load_bundle(tiny_root, overrides={"inferer::overlap": 0.25}).digest)


def refused(config, *options):
    """What is told, line by line, where the check finds faults."""
    with pytest.raises(UsageError) as raised:
        CliRunner().invoke(command, [str(config), *options], catch_exceptions=False)
    return str(raised.value).splitlines()


def test_what_is_not_there_is_all_told_and_the_same_by_the_service_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Supervisor", None)
    config = write(tmp_path, f"{SMALL}status: {{port: 0}}\n")
    lines = refused(config, "--check")
    folder, bundle = lines
    assert bundle.startswith(f"{tmp_path / 'rules.yaml'}: line 1: rules[1].bundle: no bundle 'brain': ")
    assert folder == (
        f"{config}: line 7: destinations.folders.out: expected a folder at {tmp_path / 'results'}, got none; mount or "
        "make it"
    )
    assert refused(config) == lines


def test_what_may_be_right_later_is_a_warning(ready, here):
    done = check(ready)
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: {ready}: line 5: sources.folders[1].folder: no folder at ")
    assert done.stdout.startswith(f"{ready}: 1 rule, 1 worker; 1 warning\n")


def test_an_audit_log_that_takes_no_line_is_told_by_the_check_as_by_the_start(ready):
    audit = AuditLog(read_settings(ready).job.audit, "node")
    audit.append("started")
    assert check(ready).exit_code == 0
    (file,) = audit.folder.glob("*.jsonl")
    file.write_bytes(content := file.read_bytes() + b"garbage\n")
    for options in (["--check"], []):
        with pytest.raises(AuditError, match="move its folder away, and keep it"):
            CliRunner().invoke(command, [str(ready), *options], catch_exceptions=False)
    assert file.read_bytes() == content


def test_archives_are_asked_on_request(ready, here):
    port = free_port()
    archive = (
        f"archives: {{dimse: {{pacs: {{host: 127.0.0.1, port: {port}, ae_title: PACS, seconds: 5}}}}}}\n"
    )
    ready.write_text(ready.read_text() + archive)
    assert check(ready).exit_code == 0
    done = check(ready, "--archives")
    assert (done.exit_code, "archive pacs: PACS at" in done.stderr) == (3, True)
    assert "; 1 warning, 1 archive does not answer\n" in done.stdout
    with StorageNode("PACS", lambda *_: 0, ["MEDKIT"], port=port):
        done = check(ready, "--archives")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "archive pacs: answers")
    assert refused(ready, "--archives") == [
        "--archives: expected --check beside it, got none; a service asks archives by itself"
    ]


def test_a_service_in_shadow_needs_no_folder(tmp_path, tiny_root, here):
    config = write(tmp_path, f"{SMALL}bundles: {{brain: {{location: {tiny_root}}}}}\nstatus: {{port: 0}}\n")
    assert "destinations.folders.out" in refused(config, "--check")[0]
    assert check(config, "--shadow").exit_code == 0


def test_a_wrong_file_is_left_to_main(tmp_path):
    config = write(tmp_path, SMALL.replace("folder: night", "fold: night"))
    with pytest.raises(UsageError, match="fold"):
        CliRunner().invoke(command, [str(config), "--check"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "options", "shadow"),
    [("", [], False), ("", ["--shadow"], True), ("shadow: true\n", [], True)],
)
def test_what_is_served_is_what_the_file_says_but_for_the_shadow(
    tmp_path, monkeypatch, ready, text, options, shadow
):
    ready.write_text(ready.read_text() + text)
    served = []

    class Supervisor:
        def __init__(self, settings, logs) -> None:
            served.append((settings.shadow, settings.job.root, logs.form))

        def stop(self) -> None: ...

        def serve(self) -> None:
            served.append("served")

        def close(self) -> None:
            served.append("closed")

    monkeypatch.setattr(module, "Supervisor", Supervisor)
    monkeypatch.setattr("medkit.batch.logs.set_up_logs", lambda *_: None)  # or those of all tests go
    done = CliRunner().invoke(command, [str(ready), "--logs", "json", *options])
    assert done.exit_code == 0
    assert served == [(shadow, tmp_path / "night", "json"), "served", "closed"]
