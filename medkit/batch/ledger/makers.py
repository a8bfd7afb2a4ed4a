"""What results were made by: the line of the journal that says so, and how a maker is found in it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["makers_in", "makers_line", "names_maker"]

_BEGINNING = "made by "
_BETWEEN = re.compile(r"(?<=\)), ")
_DIGEST = re.compile(r"\(([0-9a-f]+)\)$")
_DIGITS = re.compile(r"[0-9a-f]{4,64}")


def makers_line(makers: Sequence[str]) -> str | None:
    """The line for some makers, each as ``NAME VERSION (DIGEST)``; ``None`` for none."""
    return f"{_BEGINNING}{', '.join(makers)}" if makers else None


def makers_in(line: str | None) -> list[str]:
    """The makers of a line of :func:`makers_line`."""
    return _BETWEEN.split(line.removeprefix(_BEGINNING)) if line else []


def names_maker(line: str | None, asked: str) -> bool:
    """Whether a line names a maker, as a whole: neither ``unet 1.1`` is ``unet 1.10``, nor ``brain`` ``whole_brain``.

    Args:
        line: of :func:`makers_line`.
        asked: its name, with its version or without; the same with its digest, as the line has it; or its digest, or
            four or more of the first digits of that.
    """
    return any(
        f"{maker} ".startswith(f"{asked} ") or _has_digest(maker, asked.lower()) for maker in makers_in(line)
    )


def _has_digest(maker: str, asked: str) -> bool:
    """Whether a digest is that of a maker, as far as both are told."""
    told = _DIGEST.search(maker)
    if told is None or not _DIGITS.fullmatch(asked):
        return False
    return told[1].startswith(asked) or asked.startswith(told[1])
