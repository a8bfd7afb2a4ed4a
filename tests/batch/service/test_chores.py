from __future__ import annotations

from threading import Event

from medkit.batch.service import chores
from medkit.batch.service.chores import Chore


def test_a_chore_is_done_again_and_again_even_after_it_failed(monkeypatch):
    monkeypatch.setattr(chores, "_PAUSE_SECONDS", 0.0)
    times, enough = [], Event()

    def work():
        times.append(None)
        if len(times) == 1:
            raise OSError("the share is gone")
        if len(times) == 3:
            enough.set()
        return 0.0

    chore = Chore("looking", work)
    chore.start()
    assert enough.wait(60)
    chore.stop()
    assert chore.join(60)


def test_one_that_hangs_does_not_hold_up_the_end():
    begun, let_go = Event(), Event()

    def work():
        begun.set()
        let_go.wait(60)
        return 0.0

    chore = Chore("hanging", work)
    chore.start()
    assert begun.wait(60)
    chore.stop()
    assert not chore.join(0.01)
    let_go.set()
    assert chore.join(60)
