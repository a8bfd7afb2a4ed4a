"""What a bundle that runs the network of another takes over from it: its weights, and intervals of volumes.

``weights_of`` in its ``metadata.yaml`` names the other bundle, and ``sides`` what its structures are called here: those
of the other with each of these words before them. It has no training of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit.data.writing import replacing
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["borrow_weights", "intervals_by_side"]


def borrow_weights(target: Path, lender: Path) -> bool:
    """Put the weights of another bundle in place; whether that changed anything.

    Args:
        target: the bundle's own.
        lender: of the other bundle.

    Raises:
        UsageError: the other has none.
    """
    if not lender.is_file():
        raise UsageError(
            f"{lender}: expected the weights that {target} is a copy of, got no file; adopt its run"
        )
    content = lender.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return False
    with replacing(target) as temporary:
        temporary.write_bytes(content)
    return True


def intervals_by_side(found: Mapping[str, Any], sides: Sequence[str]) -> dict[str, Any]:
    """The intervals of volumes of another bundle, once for each side.

    Args:
        found: ``volume_intervals`` of its record.
        sides: words before the names of its structures.
    """
    return {
        **found,
        "sums": {
            f"{side} {name}": [f"{side} {part}" for part in parts]
            for side in sides
            for name, parts in found["sums"].items()
        },
        "structures": {f"{side} {name}": row for side in sides for name, row in found["structures"].items()},
    }
