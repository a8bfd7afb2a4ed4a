"""A coarse bundle before a fine network: crops where they should be, mirrored where asked, answers in their place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer

from medkit.data.grid import Grid
from medkit.data.monai_io import GRID_KEY
from medkit.errors import CaseError, UsageError
from medkit.inference.cascade import CascadeInferer
from medkit.inference.members import Members
from medkit.inference.mirroring import Mirroring

SHAPE = (40, 30, 32)
AFFINE = torch.diag(torch.tensor([1.0, 1, 1, 1], dtype=torch.float64))
LEFT, RIGHT = (slice(8, 14), slice(12, 20), slice(10, 15)), (slice(25, 32), slice(12, 20), slice(10, 16))
NAMES = {1: "left kidney", 2: "right kidney"}


class Finder:
    """Boxes in the place of structures."""

    folder = SimpleNamespace(name="kidney_finder")
    notes = ()

    def __init__(self, boxes=None, names=None):
        self.boxes, self.names, self.seen = boxes or {1: LEFT, 2: RIGHT}, names or NAMES, []

    def predict_volume(self, volume):
        self.seen.append(volume)
        labels = np.zeros(volume.grid.shape, dtype=np.uint8)
        for value, box in self.boxes.items():
            labels[box] = value
        return SimpleNamespace(labels=labels, grid=volume.grid, label_names=self.names, notes=self.notes)


class Fine(torch.nn.Module):
    """Two classes: brighter than a half, and brighter than a half in the half of the crop with the lower indices."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        bright = 20 * (x - 0.5)
        low = torch.arange(x.shape[2])[:, None, None] < x.shape[2] // 2
        return torch.cat(
            [torch.zeros_like(x), torch.where(low, -9.0, bright), torch.where(low, bright, -9.0)], 1
        )


def image(channels=1):
    values = torch.rand(channels, *SHAPE, generator=torch.Generator().manual_seed(0))
    return MetaTensor(values, affine=AFFINE.clone())[None]


def cascade(finder, **changes):
    settings = {
        "structures": {"left kidney": False, "right kidney": True},
        "margin_mm": 2,
        "minimum_ml": 0.1,
        "agreement": [0, 100],
        "preprocessing": lambda item: item,
        "inferer": SimpleInferer(),
    }
    return CascadeInferer(finder, **{**settings, **changes})


def wider(box, by=2):
    return tuple(slice(part.start - by, part.stop + by) for part in box)


def test_answers_lie_where_their_crop_was():
    given, fine = image(), Fine()
    output = cascade(Finder())(given, fine)
    assert output.shape == (1, 5, *SHAPE)
    labels = output[0].argmax(0).as_tensor()
    bright = given[0, 0].as_tensor() > 0.5
    for box, classes, lower in ((wider(LEFT), (1, 2), 2), (wider(RIGHT), (3, 4), 3)):
        inside = torch.zeros(SHAPE, dtype=torch.bool)
        inside[box] = True
        assert torch.equal(torch.isin(labels, torch.tensor(classes)), bright & inside)
        half = (box[0].start + box[0].stop) // 2
        assert set(labels[box][: half - box[0].start].unique().tolist()) == {0, lower}


def test_remarks_of_the_finder_come_with_the_output():
    finder = Finder()
    finder.notes = ("a left kidney of a size that is not to be believed", "flat at its end")
    output = cascade(finder)(given := image(), Fine())
    assert output.meta["notes"] == [f"kidney_finder: {note}" for note in finder.notes]
    assert "notes" not in given.meta


class OneSidedFinder(Finder):
    """Remarks on the one with the lower indices, by the name that it has in the image at hand."""

    def predict_volume(self, volume):
        values = volume.array.reshape(SHAPE)
        dark = [name for value, name in NAMES.items() if not values[self.boxes[value]].any()]
        self.notes = tuple(f"{name} of a size that is not to be believed" for name in dark)
        return super().predict_volume(volume)


def test_remarks_are_of_the_image_itself_where_mirror_images_are_segmented_too():
    boxes = {1: LEFT, 2: (slice(SHAPE[0] - LEFT[0].stop, SHAPE[0] - LEFT[0].start), *LEFT[1:])}
    given, mirroring = image(), Mirroring(("LR",), ((1, 3), (2, 4)))
    given[(0, 0, *LEFT)] = 0
    members = Members(mirroring, "softmax", ())
    output = members.mean(given, AFFINE.numpy(), Fine(), cascade(OneSidedFinder(boxes)))
    assert output.meta["notes"] == ["kidney_finder: left kidney of a size that is not to be believed"]


def test_the_network_sees_the_mirror_image_where_asked():
    given, fine = image(), Fine()
    cascade(Finder())(given, fine)
    left, right = (given[0][(..., *wider(box))] for box in (LEFT, RIGHT))
    assert torch.equal(fine.seen[0][0], left.as_tensor())
    assert torch.equal(fine.seen[1][0], right.flip(1).as_tensor())


def test_probabilities_are_the_networks_own():
    given = image()
    output = cascade(Finder())(given, Fine()).as_tensor()[0].softmax(0)
    crop = given[0][(..., *wider(LEFT))].as_tensor()
    expected = Fine()(crop[None])[0].softmax(0)
    torch.testing.assert_close(output[(slice(0, 3), *wider(LEFT))], expected, atol=1e-6, rtol=0)
    assert output[1:, 0, 0, 0].max() < 1e-9


def test_each_crop_is_preprocessed_by_itself():
    fine = Fine()
    cascade(Finder(), preprocessing=lambda item: {"image": item["image"] - item["image"].mean()})(
        image(), fine
    )
    assert all(abs(float(crop.mean())) < 1e-6 for crop in fine.seen)


def test_the_preprocessing_knows_where_the_structure_is():
    given, fine, seen = image(), Fine(), []

    def preprocessing(item):
        seen.append(item)
        return {"image": item["image"] * item["structure"]}

    cascade(Finder(), preprocessing=preprocessing)(given, fine)
    left, right = (given[0][(..., *box)] for box in (LEFT, RIGHT))
    assert torch.equal(fine.seen[0][0][:, 2:-2, 2:-2, 2:-2], left.as_tensor())
    assert torch.equal(fine.seen[1][0][:, 2:-2, 2:-2, 2:-2], right.flip(1).as_tensor())
    assert [int(item["structure"].sum()) for item in seen] == [left.numel(), right.numel()]
    assert all(
        torch.equal(crop != 0, item["structure"][None]) for crop, item in zip(fine.seen, seen, strict=True)
    )


def test_channels_and_place_reach_the_finder():
    finder, given = Finder(), image(channels=2)
    given.affine[:3, 3] = torch.tensor([-20.0, 5, 7])
    cascade(finder)(given, lambda x: torch.zeros(1, 3, *x.shape[2:]))
    (seen,) = finder.seen
    assert seen.array.shape == (*SHAPE, 2)
    np.testing.assert_array_equal(seen.array[..., 1], given[0, 1].numpy())
    np.testing.assert_array_equal(seen.grid.affine[:3, 3], [-20, 5, 7])


def test_a_crop_ends_at_the_edge_of_the_image():
    near = {1: (slice(1, 6), *LEFT[1:]), 2: RIGHT}
    fine = Fine()
    cascade(Finder(near), margin_mm=4)(image(), fine)
    assert fine.seen[0].shape[2:] == (10, 16, 13)


@pytest.mark.parametrize(
    ("boxes", "code", "words"),
    [
        ({1: LEFT}, "structure-not-found", r"right kidney of 0.1 ml .* got 0.00 ml"),
        ({1: LEFT, 2: (slice(25, 29),) * 3}, "structure-not-found", r"got 0.06 ml"),
        (
            {1: (slice(0, 6), *LEFT[1:]), 2: RIGHT},
            "structure-cut",
            "all of the left kidney .* reaches its edge",
        ),
        ({1: LEFT, 2: (*RIGHT[:2], slice(20, 32))}, "structure-cut", "all of the right kidney"),
    ],
)
def test_what_is_not_there_or_cut(boxes, code, words):
    with pytest.raises(CaseError, match=words) as raised:
        cascade(Finder(boxes))(image(), Fine())
    assert raised.value.code == code


def test_a_speck_of_the_finder_moves_no_crop():
    class Specked(Finder):
        def predict_volume(self, volume):
            found = super().predict_volume(volume)
            found.labels[36, 2, 30] = found.labels[0, 0, 0] = 1
            return found

    clean, specked = Fine(), Fine()
    output = cascade(Finder())(image(), clean)
    assert torch.equal(cascade(Specked())(image(), specked).as_tensor(), output.as_tensor())
    assert [crop.shape for crop in specked.seen] == [crop.shape for crop in clean.seen]


@pytest.mark.parametrize(
    ("agreement", "fits"), [((1.9, 2.3), True), ((0.5, 2.0), False), ((3.0, 9.0), False)]
)
def test_outlines_that_do_not_agree_with_what_was_found_are_refused(agreement, fits):
    """Half of a crop of 1.08 ml about the left kidney of .24 ml, of one of 1.32 ml about the right one of .336 ml."""

    def half(x):
        logits = torch.zeros(1, 3, *x.shape[2:])
        logits[:, 1, :, : x.shape[3] // 2] = 1
        return logits

    made = cascade(Finder(), agreement=agreement)
    if fits:
        assert made(image(), half).shape == (1, 5, *SHAPE)
        return
    with pytest.raises(CaseError, match=r"times the 0.24 ml of left kidney .* got 0.54 ml") as raised:
        made(image(), half)
    assert raised.value.code == "structures-disagree"


def test_a_finder_of_other_things():
    with pytest.raises(
        UsageError, match=r"expected a bundle that segments \['right kidney'\], got one that knows"
    ):
        cascade(Finder(names={1: "left kidney"}))(image(), Fine())


@pytest.mark.parametrize("given", [torch.rand(1, 1, *SHAPE), torch.rand(2, 1, *SHAPE)])
def test_images_without_place(given):
    with pytest.raises(UsageError, match="expected one image that knows its place"):
        cascade(Finder())(given, Fine())


def test_a_structure_of_no_voxel_is_not_found_whatever_the_minimum():
    with pytest.raises(CaseError, match=r"got 0\.00 ml"):
        cascade(Finder({1: LEFT}), minimum_ml=0)(image(), Fine())


def test_an_image_with_other_axes():
    given = image()
    given.affine[0, 0] = -1
    with pytest.raises(UsageError, match=r"\(RAS\), got LAS; preprocess it"):
        cascade(Finder())(given, Fine())


def test_lengths_that_nobody_knows():
    given = image()
    given.meta[GRID_KEY] = Grid(SHAPE, AFFINE.numpy(), size_known=False).to_json()
    with pytest.raises(CaseError, match="whose voxel size is known, for margins") as raised:
        cascade(Finder())(given, Fine())
    assert raised.value.code == "voxel-size-unknown"


def test_a_finder_that_does_not_return_to_the_grid():
    class Coarse(Finder):
        def predict_volume(self, volume):
            found = super().predict_volume(volume)
            grid = Grid((20, 15, 16), np.diag([2.0, 2, 2, 1]))
            return SimpleNamespace(labels=found.labels[::2, ::2, ::2], grid=grid, label_names=NAMES)

    with pytest.raises(UsageError, match=r"the image's grid, \(40, 30, 32\), got .* \(20, 15, 16\)"):
        cascade(Coarse())(image(), Fine())


@pytest.mark.parametrize("changes", [{"structures": {}}, {"margin_mm": -1}])
def test_nothing_to_find(changes):
    with pytest.raises(UsageError, match="expected structures to find and a margin of 0 mm or more"):
        cascade(Finder(), **changes)


@pytest.mark.parametrize("agreement", [[1.2, 0.8], [0.5], [-1, 1]])
def test_an_agreement_that_is_no_range(agreement):
    with pytest.raises(UsageError, match="agreement: expected a least and a largest part of a volume, got"):
        cascade(Finder(), agreement=agreement)
