"""Codes of labels in the forms that highdicom takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import CodedConcept

if TYPE_CHECKING:
    from medkit.data.label_codes import Concept

__all__ = ["coded"]


def coded(concept: Concept) -> CodedConcept:
    """A concept as an item of a code sequence."""
    return CodedConcept(concept.value, concept.scheme, concept.meaning)
