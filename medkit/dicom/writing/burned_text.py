"""Words in the pixels themselves, which no viewer can leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medkit.errors import CaseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WORDS", "burn", "text_mask"]

WORDS = ("RESEARCH", "machine-", "made")
_SMALLEST, _LARGEST = 6, 24  # pixels of a letter's height, about
_SHARE = 12  # of the rows, for one line


def burn(frames: NDArray[Any]) -> NDArray[Any]:
    """Copies of frames with the words in their upper left corner, as bright as the whole is at its brightest.

    Args:
        frames: ``(K, rows, columns)`` numbers, finite.

    Raises:
        CaseError: ``image-too-small`` for words that can be read.
    """
    mask = text_mask(frames.shape[1], frames.shape[2])
    box = _box(mask)
    burned = frames.copy()
    low, high = frames.min(), frames.max()
    burned[:, : box[0], : box[1]] = low
    # An image that is the same everywhere has no brightness of its own.
    burned[:, mask] = high if high > low else low + 1
    return burned


def text_mask(rows: int, columns: int) -> NDArray[np.bool_]:
    """Where the words are ink in an image of that size: ``(rows, columns)``.

    Raises:
        CaseError: ``image-too-small``.
    """
    from PIL import Image, ImageDraw, ImageFont

    for size in range(int(np.clip(rows // _SHARE, _SMALLEST, _LARGEST)), _SMALLEST - 1, -1):
        image = Image.new("1", (columns, rows))
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(size)
        text = "\n".join(WORDS)
        _, _, right, bottom = draw.multiline_textbbox((1, 1), text, font=font, spacing=1)
        if right < columns and bottom < rows:
            draw.multiline_text((1, 1), text, fill=1, font=font, spacing=1)
            return np.array(image, dtype=bool)
    raise CaseError(
        "image-too-small",
        f"expected an image in which '{' '.join(WORDS)}' can be read, got {columns} columns and {rows} rows; pad it",
    )


def _box(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Rows and columns that the words take, with an edge of one pixel."""
    inked_rows, inked_columns = np.nonzero(mask)
    return int(inked_rows.max()) + 2, int(inked_columns.max()) + 2
