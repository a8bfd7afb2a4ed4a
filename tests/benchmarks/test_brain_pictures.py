"""Pictures of real heads for a card."""

from __future__ import annotations

from types import SimpleNamespace

import brain_pictures
import numpy as np
from brain_pictures import draw_for_card
from PIL import Image

from medkit.data import Grid, Volume
from medkit.errors import CaseError
from medkit.figures.overlay import overlay_pixels

GRID = Grid((20, 24, 22), np.diag([-2.0, 2, 2, 1]))
NAMES = {0: "background", 1: "left hippocampus", 2: "right hippocampus"}


class Bundle:
    def predict_volume(self, image):
        if not image.array.any():
            raise CaseError("not-recognised", "expected a brain")
        labels = np.zeros(GRID.shape, np.uint8)
        labels[4:8, 8:16, 8:14], labels[12:16, 8:16, 8:14] = 2, 1
        return SimpleNamespace(
            labels=labels, label_names=NAMES, volumes_ml={NAMES[1]: 1.5, NAMES[2]: "unknown"}
        )


def test_each_head_is_drawn_and_shown_and_a_refusal_told(tmp_path, monkeypatch):
    bright = np.random.default_rng(0).random(GRID.shape, np.float32)
    heads = {"patient 01 T1": Volume(bright, GRID), "a spine": Volume(np.zeros(GRID.shape, np.float32), GRID)}
    monkeypatch.setattr(brain_pictures, "pictured_heads", lambda: heads)
    shown = draw_for_card(Bundle(), tmp_path)
    assert shown == "![patient 01 T1](patient_01_T1.png)\n\na spine was refused (not-recognised)."
    with Image.open(tmp_path / "patient_01_T1.png") as drawn:
        assert drawn.mode == "P"
        found = np.asarray(drawn.convert("RGB"), np.int16)
    labels = Bundle().predict_volume(heads["patient 01 T1"])
    volumes = {1: 1.5, 2: "unknown"}
    pixels = overlay_pixels(
        heads["patient 01 T1"], labels.labels, NAMES, title="patient 01 T1", volumes_ml=volumes
    )
    assert np.abs(found - pixels).max() < 32, "no structure takes the colour of another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patient_01_T1.png"]
