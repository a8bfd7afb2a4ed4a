"""``medkit serve`` as far as it gets without serving; the rest is in tests/batch/service/test_serving.py."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from medkit.batch.service import supervisor as module
from medkit.bundle.store import find_bundle
from medkit.cli.serve import command
from medkit.errors import UsageError
from tests.batch.service.test_settings import SMALL, write


def check(config, *options):
    return CliRunner().invoke(command, [str(config), "--check", *options])


def test_a_file_is_checked_and_nothing_is_begun(tmp_path, tiny_root):
    location = f"bundles: {{brain: {{location: {tiny_root}}}}}\n"
    config = write(tmp_path, SMALL + location)
    (tmp_path / "results").mkdir()
    done = check(config)
    assert (done.exit_code, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"{config}: 1 rule, 1 worker; nothing wrong"
    folder = find_bundle(tiny_root)
    assert second == f"bundle {folder.name}: version {folder.metadata['version']}, digest {folder.digest()}"
    assert not (tmp_path / "night").exists()
    config = write(tmp_path, f"{SMALL}{location}workers: 2\n")
    assert "1 rule, 2 workers; nothing wrong" in check(config).stdout


def test_bundles_and_folders_that_are_not_there_are_all_told(tmp_path, tiny_root):
    config = write(tmp_path, SMALL)
    done = check(config)
    assert (done.exit_code, done.stdout) == (2, "")
    bundle, folder = done.stderr.splitlines()
    assert bundle.startswith(f"{config}: rule any: no bundle 'brain': ")
    assert folder == (
        f"{config}: destinations: folders: out: expected a folder at {tmp_path / 'results'}, got none; mount or make it"
    )
    (tmp_path / "results").mkdir()
    for location, words in (("nowhere", "got nothing there"), (tiny_root.parent, "a folder of bundles")):
        config = write(tmp_path, f"{SMALL}bundles: {{brain: {{location: {location}}}}}\n")
        done = check(config)
        assert (done.exit_code, done.stdout, words in done.stderr) == (2, "", True), done.stderr


def test_a_service_in_shadow_needs_no_folder(tmp_path, tiny_root):
    config = write(tmp_path, f"{SMALL}bundles: {{brain: {{location: {tiny_root}}}}}\n")
    assert check(config).exit_code == 2
    assert check(config, "--shadow").exit_code == 0


def test_a_wrong_file_is_left_to_main(tmp_path):
    config = write(tmp_path, SMALL.replace("folder: night", "fold: night"))
    with pytest.raises(UsageError, match="fold"):
        CliRunner().invoke(command, [str(config), "--check"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "options", "shadow"),
    [(SMALL, [], False), (SMALL, ["--shadow"], True), (f"{SMALL}shadow: true\n", [], True)],
)
def test_what_is_served_is_what_the_file_says_but_for_the_shadow(
    tmp_path, monkeypatch, text, options, shadow
):
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
    done = CliRunner().invoke(command, [str(write(tmp_path, text)), "--logs", "json", *options])
    assert done.exit_code == 0
    assert served == [(shadow, tmp_path / "night", "json"), "served", "closed"]
