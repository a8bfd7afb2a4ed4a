"""``medkit serve`` as far as it gets without serving; the rest is in tests/batch/service/test_serving.py."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from medkit.batch.service import supervisor as module
from medkit.cli.serve import command
from medkit.errors import UsageError
from tests.batch.service.test_settings import SMALL, write


def test_a_file_is_checked_and_nothing_is_begun(tmp_path):
    config = write(tmp_path, SMALL)
    done = CliRunner().invoke(command, [str(config), "--check"])
    assert (done.exit_code, done.output) == (0, f"{config}: 1 rules, 1 workers; nothing wrong\n")
    assert not (tmp_path / "night").exists()


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
    monkeypatch.setattr("medkit.batch.service.logs.set_up_logs", lambda *_: None)  # or those of all tests go
    done = CliRunner().invoke(command, [str(write(tmp_path, text)), "--logs", "json", *options])
    assert done.exit_code == 0
    assert served == [(shadow, tmp_path / "night", "json"), "served", "closed"]
