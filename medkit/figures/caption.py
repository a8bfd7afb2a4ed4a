"""What stands below a picture: how it is to be read, and remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.data.palette import DOUBT_NAME
from medkit.figures.lettering import DIM, MARGIN, SIZE, fitted, text_width, write_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from medkit.data.volume import Volume
    from medkit.figures.planes import Pose

__all__ = ["draw_caption", "raised_by", "remark_lines"]

_NOTES = (15, 14, 3)  # height of the last line, distance between lines, most lines
_AMBER = "#e3b04b"
_OBLIQUE_DEGREES = 2.0


def draw_caption(
    axes: Axes,
    volume: Volume,
    pose: Pose,
    window: tuple[float, float],
    remarks: Sequence[str],
    *,
    doubt: bool,
) -> None:
    """Say how a picture is to be read, and below it what was remarked.

    Args:
        axes: of the sheet, in pixels.
        volume: the image.
        pose: of its planes.
        window: intensities that are black and white.
        remarks: lines, from :func:`remark_lines`.
        doubt: whether doubt is drawn.
    """
    digits = ".0f" if window[1] - window[0] >= 20 else ".3g"
    text = f"Grey window {window[0]:{digits}} to {window[1]:{digits}}."
    if volume.grid.side_known:
        text = f"Radiological convention: the patient's right is on the viewer's left.  {text}"
    if pose.tilt_degrees > _OBLIQUE_DEGREES:
        text += f"  Planes follow the voxel axes, up to {pose.tilt_degrees:.0f}° off the body axes."
    if doubt:
        text += f"  {DOUBT_NAME}: where the labels are doubtful (entropy)."
    write_line(axes, 33 + raised_by(remarks), text, size=7.5, colour=DIM)
    last, distance, _ = _NOTES
    for number, line in enumerate(reversed(remarks)):
        write_line(axes, last + number * distance, line, size=7.5, colour=_AMBER)


def raised_by(remarks: Sequence[str]) -> int:
    """By how many pixels all else makes room for lines of remarks."""
    _, distance, _ = _NOTES
    return max(len(remarks) - 1, 0) * distance


def remark_lines(notes: Sequence[str]) -> list[str]:
    """Notes one after the other, as many as fit, and how many more there are."""
    most = _NOTES[2]
    for kept in range(len(notes), 0, -1):
        more = _more(len(notes) - kept)
        lines = _wrapped("; ".join(notes[:kept]) + more)
        if len(lines) <= most:
            return lines
    if not notes:
        return []
    more = _more(len(notes) - 1) or " (whole in the record)"
    *first, last = _wrapped(notes[0])[:most]
    room = SIZE[0] - 2 * MARGIN - text_width(more, size=7.5)
    return [*first, fitted(last + "…", room, size=7.5) + more]


def _more(number: int) -> str:
    return f"; and {number} more in the record" if number else ""


def _wrapped(text: str) -> list[str]:
    """Lines of whole words, as wide as the picture; no more than one that is too many for notes."""
    lines: list[str] = []
    room = 0.0
    for word in text.split():
        width = text_width(f"n {word}", size=7.5) - text_width("n", size=7.5)  # with the space before it
        if width <= room:
            lines[-1] += f" {word}"
            room -= width
        elif len(lines) > _NOTES[2]:
            break
        else:
            lines.append(word)
            room = SIZE[0] - 2 * MARGIN - width
    return lines
