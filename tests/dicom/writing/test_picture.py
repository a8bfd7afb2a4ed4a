"""Pictures: drawn as everywhere, with the words in the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medkit.data.grid import Grid
from medkit.data.volume import Volume
from medkit.dicom.findings import Finding
from medkit.dicom.writing.picture import draw_picture
from medkit.errors import CaseError, UsageError
from medkit.figures.overlay import draw_overlay
from tests.dicom.writing.sources import MAKER, NAMES, some_labels


def pixels(source, maker=MAKER, labels=None):
    labels = some_labels(source.volume.array.shape) if labels is None else labels
    return draw_picture(source, labels, source.volume.affine, maker).pixel_array


def test_it_is_the_picture_that_is_drawn_everywhere(oblique, tmp_path):
    from PIL import Image

    volume = oblique.volume
    labels = some_labels(volume.array.shape)
    volumes = {value: float((labels == value).sum() * 0.006) for value in NAMES}
    drawn = Volume(volume.array, Grid(volume.array.shape, volume.affine))
    title = "RESEARCH, machine-made: kidneys_segmentation 0.2.0"
    draw_overlay(drawn, labels, NAMES, tmp_path / "a.png", title=title, volumes_ml=volumes)
    assert np.array_equal(pixels(oblique), np.asarray(Image.open(tmp_path / "a.png").convert("RGB")))


def test_the_words_stay_however_long_the_name_is(oblique):
    short, long = pixels(oblique), pixels(oblique, replace(MAKER, bundle="x" * 500))
    words = (slice(0, 45), slice(0, 200))  # of the title, as far as "RESEARCH, machine-made"
    assert np.array_equal(short[words], long[words])
    assert short[words].max() > 200


def test_nothing_of_the_patient_is_drawn(oblique, monkeypatch):
    before = pixels(oblique)
    for header in oblique.headers:
        monkeypatch.setattr(header, "PatientName", "Somebody^Else")
    assert np.array_equal(pixels(oblique), before)


def test_no_remark_is_drawn_for_it_may_quote_a_header(oblique):
    note = Finding("tilt", "Somebody^Else: the gantry is tilted")
    noted = replace(oblique, volume=replace(oblique.volume, notes=(note,)))
    assert np.array_equal(pixels(noted), pixels(oblique))


def test_labels_in_other_axes_give_the_same_picture(oblique):
    volume = oblique.volume
    labels = some_labels(volume.array.shape)
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = labels.shape[2] - 1
    other = draw_picture(oblique, labels[:, :, ::-1], volume.affine @ flip, MAKER)
    assert np.array_equal(other.pixel_array, pixels(oblique))


def test_what_cannot_be_drawn(oblique):
    volume = oblique.volume
    with pytest.raises(UsageError, match="leave it out"):
        pixels(oblique, labels=np.zeros((*volume.array.shape, 6)))
    with pytest.raises(CaseError, match="expected the grid"):
        draw_picture(oblique, np.zeros((2, 2, 2)), volume.affine, MAKER)
