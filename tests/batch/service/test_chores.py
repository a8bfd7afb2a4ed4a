from __future__ import annotations

from threading import Event

import pytest

from medkit.batch.notices import Kind, Notices
from medkit.batch.service import chores
from medkit.batch.service.chores import Chore


@pytest.fixture
def notices(tmp_path):
    return Notices(tmp_path / "notices")


def test_a_chore_is_done_again_and_again_even_after_it_failed(monkeypatch, notices):
    monkeypatch.setattr(chores, "_PAUSE_SECONDS", 0.0)
    times, enough = [], Event()

    def work():
        times.append(None)
        if len(times) == 1:
            raise OSError("the share is gone")
        if len(times) == 3:
            enough.set()
        return 0.0

    chore = Chore("looking", work, notices)
    chore.start()
    assert enough.wait(60)
    chore.stop()
    assert chore.join(60)


def test_as_long_as_it_fails_that_is_told_without_the_words_of_the_error(monkeypatch, notices):
    monkeypatch.setattr(chores, "_PAUSE_SECONDS", 0.0)
    seen, went_well, enough = [], Event(), Event()

    def work():
        seen.append(notices.all())
        if len(seen) == 1:
            raise OSError("of Doe")
        if len(seen) == 3:
            enough.set()
        if len(seen) > 3:
            went_well.wait(60)
        return 0.0

    chore = Chore("looking", work, notices)
    chore.start()
    assert enough.wait(60)
    chore.stop()
    went_well.set()
    assert chore.join(60)
    assert seen[0] == seen[2] == []
    (told,) = seen[1]
    assert (told.kind, told.part, told.code) == (Kind.CHORE, "looking", "chore-failed")
    assert told.passing
    assert "OSError" in told.message
    assert "Doe" not in told.message


def test_one_that_hangs_does_not_hold_up_the_end(notices):
    begun, let_go = Event(), Event()

    def work():
        begun.set()
        let_go.wait(60)
        return 0.0

    chore = Chore("hanging", work, notices)
    chore.start()
    assert begun.wait(60)
    chore.stop()
    assert not chore.join(0.01)
    let_go.set()
    assert chore.join(60)
