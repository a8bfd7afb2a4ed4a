"""Words in the pixels: they are there, can be read, and stand out in any image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.dicom.writing.burned_text import WORDS, burn, text_mask
from medkit.errors import CaseError


def test_the_words_say_what_they_have_to():
    assert "".join(WORDS) == "RESEARCHmachine-made"


@given(st.integers(36, 600), st.integers(36, 600))
def test_the_words_fit_whole(rows, columns):
    mask = text_mask(rows, columns)
    assert mask.shape == (rows, columns)
    inked_rows, inked_columns = np.nonzero(mask)
    assert 0 < inked_rows.max() < rows - 1  # nothing is cut off
    assert 0 < inked_columns.max() < columns - 1
    assert inked_rows.max() > 15  # three lines


def test_letters_are_those_of_the_words():
    from PIL import Image, ImageDraw, ImageFont

    mask = text_mask(512, 512)
    for size in range(6, 25):
        image = Image.new("1", (512, 512))
        ImageDraw.Draw(image).multiline_text(
            (1, 1), "RESEARCH\nmachine-\nmade", fill=1, font=ImageFont.load_default(size), spacing=1
        )
        if np.array_equal(np.array(image, bool), mask):
            return
    pytest.fail("no size of the words gives this mask")


@pytest.mark.parametrize("kind", ["noise", "constant", "bright", "negative", "integers"])
def test_the_words_stand_out(kind):
    noise = np.random.default_rng(0).normal(size=(3, 50, 60))
    frames = {
        "noise": noise, "constant": noise * 0 + 7.0, "bright": noise - noise.min() + 1e5, "negative": noise - 1e4,
        "integers": (noise * 100).astype(np.int16),
    }[kind]  # fmt: skip
    burned = burn(frames)
    mask = text_mask(50, 60)
    ink = np.argwhere(mask)
    top, left = ink.max(axis=0)
    box = burned[:, : top + 2, : left + 2]
    assert burned.dtype == frames.dtype
    assert len(np.unique(box)) == 2  # ink and what is behind it
    assert np.array_equal(box[0] == box.max(), mask[: top + 2, : left + 2])
    assert np.array_equal(burned[:, top + 2 :], frames[:, top + 2 :])
    assert np.array_equal(burned[:, :, left + 2 :], frames[:, :, left + 2 :])
    assert not np.array_equal(burned, frames)


@pytest.mark.parametrize(("rows", "columns"), [(20, 200), (200, 20), (1, 1)])
def test_an_image_too_small_for_them_is_refused(rows, columns):
    with pytest.raises(CaseError, match="RESEARCH machine- made") as error:
        burn(np.zeros((1, rows, columns)))
    assert error.value.code == "image-too-small"
