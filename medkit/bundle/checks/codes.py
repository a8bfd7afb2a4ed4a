"""The codes of the labels, which DICOM objects name the structures by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.bundle.checks.finding import Note
from medkit.data.label_codes import label_codes_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.bundle.checks.subject import Subject

__all__ = ["segment_codes"]

_KEY = "segment_codes"
_BACKGROUND = "background"


def segment_codes(subject: Subject) -> Iterator[str | Note]:
    """Each label has codes of its own; medkit's own bundles have them, those of others may."""
    where, content = f"configs/metadata.json: {_KEY}", subject.folder.metadata.get(_KEY)
    if content is None:
        if subject.own:
            yield f"{where}: expected the codes of every label, got none; without them no DICOM object is written"
        else:
            yield Note("none, so that no DICOM object can be written")
        return
    problems = list(label_codes_problems(content))
    yield from (f"{where}: {problem}" for problem in problems)
    if problems:
        return
    declared = subject.tensor_format("outputs", "pred").get("channel_def")
    if declared is None:
        return  # the check of labels tells
    names = {str(int(value)): name for value, name in declared.items() if name.lower() != _BACKGROUND}
    for value in names.keys() - content.keys():
        yield f"{where}: label {value} ({names[value]}) has none; add them, or it cannot be written as DICOM"
    for value in content.keys() - names.keys():
        yield f"{where}: {value} is no label of channel_def; leave it out"
