"""What keeps an object from its destination, in the ledger's words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from medkit.batch.delivery.destinations import FOLDER_GONE
from medkit.dicom.network.archive import DOWN, OF_ALL, TLS_FAILED, ArchiveDown, ArchiveRefused
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medkit.batch.delivery.destinations import Destination

__all__ = ["NOT_SHOWN", "WAITING", "Trouble", "asking", "find_destination", "worst"]

NOT_SHOWN = "not-shown-yet"
WAITING = OF_ALL | {DOWN, FOLDER_GONE, TLS_FAILED, NOT_SHOWN}
"""Codes of what says nothing about the study, and is no attempt."""


class Trouble(MedkitError):
    """A study cannot be delivered, or an object not be withdrawn.

    Args:
        code: in kebab case; one of :data:`WAITING` where a later try may go well and this one does not count.
        reason: one line for a person, without a patient in it.

    Attributes:
        destination: by its name, as soon as that is known.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.destination: str | None = None


@contextmanager
def asking(destination: Destination) -> Iterator[None]:
    """Turn whatever a destination raises into a trouble.

    Of errors that no destination should raise only the kind is told: their texts may hold anything.
    """
    try:
        yield
    except ArchiveDown as error:
        raise Trouble(error.code, str(error)) from error
    except ArchiveRefused as error:
        raise Trouble(error.code, str(error)) from error
    except Trouble:
        raise
    except Exception as error:
        text = f"{destination.name}: expected an answer, got a fault of the program ({type(error).__name__})"
        raise Trouble("delivery-fault", text) from error


def find_destination(destinations: Mapping[str, Destination], name: str) -> Destination:
    """A destination by its name.

    Raises:
        Trouble: ``destination-unknown``.
    """
    if name not in destinations:
        known = ", ".join(sorted(destinations)) or "none"
        raise Trouble("destination-unknown", f"expected a destination that is set up ({known}), got {name}")
    return destinations[name]


def worst(troubles: Sequence[Trouble]) -> Trouble:
    """Of several that which counts: one that time alone does not mend."""
    return min(troubles, key=lambda trouble: (trouble.code in WAITING, trouble.code == DOWN))
