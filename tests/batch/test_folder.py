from __future__ import annotations

import pytest
from filelock import FileLock

from medkit.batch.folder import JobFolder, existing_job
from medkit.batch.ledger import Ledger
from medkit.errors import UsageError


def test_a_batch_that_was_begun_is_found(tmp_path):
    Ledger(JobFolder(tmp_path).ledger, "a").close()
    job = existing_job(tmp_path)
    names = {path.name for path in (job.ledger, job.spool, job.results, job.audit, job.work)}
    assert names == {"ledger.sqlite", "spool", "results", "audit", "work"}
    assert {path.parent for path in (job.spool, job.work)} == {tmp_path}


def test_a_folder_is_held_as_long_as_somebody_holds_its_lock(tmp_path):
    job = JobFolder(tmp_path)
    assert not job.is_held(), "there never was a service"
    with FileLock(job.lock):
        assert job.is_held()
    job.lock.touch()
    assert not job.is_held()
    with FileLock(job.lock, timeout=0):
        assert job.is_held(), "who asked holds it no more"


def test_who_holds_a_folder_has_it_for_himself(tmp_path):
    job = JobFolder(tmp_path)
    with job.hold():
        assert job.is_held()
        with pytest.raises(UsageError, match="got one that is running; stop it first"), job.hold():
            pass
        assert job.is_held(), "who was refused takes nothing away"
    assert not job.is_held()


@pytest.mark.parametrize(("name", "got"), [("", "got none"), ("missing", "got no such folder")])
def test_another_folder_is_none_of_a_batch(tmp_path, name, got):
    with pytest.raises(UsageError, match=f"ledger.sqlite in it, {got}"):
        existing_job(tmp_path / name)
    assert list(tmp_path.iterdir()) == [], "asking makes nothing"
