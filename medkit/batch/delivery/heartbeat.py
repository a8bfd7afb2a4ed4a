"""Keep a lease alive while something takes long."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from medkit.batch.ledger import LeaseLost, LedgerError

if TYPE_CHECKING:
    from medkit.batch.ledger import Claim, Ledger

__all__ = ["Heartbeat"]


class Heartbeat:
    """Renew the lease of a claim, three times as often as it would run out, within a ``with`` block.

    Args:
        ledger: which.
        claim: which.

    Attributes:
        lost: the ledger said that the claim holds no longer.
    """

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger, self.claim, self.lost = ledger, claim, False
        self._stop = Event()
        self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def renew(self) -> Claim:
        """Renew the lease now.

        Raises:
            LeaseLost: it is too late, or the study was superseded.
        """
        self.claim = self._ledger.heartbeat(self.claim)
        return self.claim

    def _beat(self) -> None:
        while not self._stop.wait(self._ledger.policy.lease_seconds / 3):
            try:
                self.renew()
            except LeaseLost:
                self.lost = True
                return  # whoever asks the ledger next is told
            except LedgerError:
                continue  # a full disk, perhaps: while the lease lasts, the next beat may go well
