"""A worker that may be killed at any moment: makes and delivers studies until all of them are at an end."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from medkit.batch.ledger import LeaseLost, Ledger, Policy, Result, Stage, State
from tests.batch.ledger.stories import content, results

POLICY = Policy(attempts=1000, lease_seconds=1.0, delay_seconds=0.0)


def deliver(ledger: Ledger, claim, archive: Path) -> None:
    for result in ledger.results(claim.study, claim.revision):
        there = archive / result.uid
        if result.delivered_at is None:
            if not there.exists():
                ledger.sending(claim, result.uid, result.destination)
                claim = ledger.heartbeat(claim)
                put(there)
            elif result.sending_at is None:
                raise AssertionError(f"{there}: is there, and nobody was about to send it")
            ledger.sent(claim, result.uid, result.destination)
        ledger.verified(claim, result.uid, result.destination, there.read_text())
    ledger.delivered(claim)


def put(there: Path) -> None:
    """An archive takes an object whole, and keeps the one that it has."""
    whole = there.with_name(f".{os.getpid()}")
    whole.write_text(content(there.name))
    with suppress(FileExistsError):
        os.link(whole, there)
    whole.unlink()


def objects(study: str) -> list[Result]:
    return [
        Result(f"{one.uid}.{study[:12]}", "archive", content(f"{one.uid}.{study[:12]}"), one.path)
        for one in results("seg", "sr")
    ]


def work(ledger: Ledger, archive: Path) -> bool:
    """Take a study a step further; return whether there was one."""
    with suppress(LeaseLost):
        if (claim := ledger.claim(Stage.MAKE)) is not None:
            time.sleep(0.01)
            ledger.made(claim, objects(claim.study), "recipe")
        if (claim := ledger.claim(Stage.DELIVER)) is not None:
            deliver(ledger, claim, archive)
    counts = ledger.counts()
    return counts[State.DELIVERED] < sum(counts.values())


if __name__ == "__main__":
    with Ledger(Path(sys.argv[1]), sys.argv[3], POLICY) as opened:
        while work(opened, Path(sys.argv[2])):
            pass
