from __future__ import annotations

import json

import pytest

from medkit.batch.cluster.settings import ClusterSettings
from medkit.errors import UsageError


def test_a_file_tells_where_the_scheduler_is_now(tmp_path):
    file = tmp_path / "scheduler.json"
    settings = ClusterSettings(scheduler_file=file)
    with pytest.raises(FileNotFoundError):
        settings.address()
    for address in ("tcp://10.0.0.1:8786", "tcp://10.0.0.2:8786"):
        file.write_text(json.dumps({"type": "Scheduler", "address": address}), encoding="utf-8")
        assert settings.address() == address
    file.write_text(json.dumps({"address": "tls://10.0.0.1:8786"}), encoding="utf-8")
    with pytest.raises(UsageError, match="expected files for TLS"):
        settings.address()


@pytest.mark.parametrize("content", ["", "\n", "{", '{"type": "Scheduler", "address": "tcp://10.0'])
def test_a_file_that_is_being_written_is_awaited(tmp_path, content):
    file = tmp_path / "scheduler.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(BlockingIOError, match="not written to its end"):
        ClusterSettings(scheduler_file=file).address()


@pytest.mark.parametrize("content", ["[]", "{}", "{address}", "rules: []"])
def test_a_file_that_no_scheduler_wrote_is_refused(tmp_path, content):
    file = tmp_path / "scheduler.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"scheduler.json: expected what 'dask scheduler --scheduler-file' writes"
    ):
        ClusterSettings(scheduler_file=file).address()
