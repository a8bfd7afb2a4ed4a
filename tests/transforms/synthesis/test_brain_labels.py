"""The scheme of the real label maps agrees with the tables and the maps that come with them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch

from medkit.transforms.synthesis.brain_labels import brain_scheme
from tests.head_phantom import head


def test_left_and_right():
    for item in brain_scheme().structures:
        if item.name.startswith("left "):
            other = next(one for one in brain_scheme().structures if one.value == item.opposite)
            assert other.name == item.name.replace("left", "right")
        elif not item.name.startswith("right "):
            assert item.opposite == item.value, item


def test_the_phantom_is_of_the_scheme():
    brain_scheme().check(head())
    assert len(head().unique()) == 16
    middle = head().shape[2] // 2
    assert (head()[0, 0, :middle] != 53).all()
    assert (head()[0, 0, middle:] != 17).all()
    assert (head() == 17).sum() < (head() == 53).sum()


def test_the_tables_of_the_data(real_data):
    tables = real_data / "brain_label_maps" / "labels_classes_priors"
    values = np.load(tables / "generation_labels.npy").tolist()
    assert sorted(values) == list(brain_scheme().values)
    # 18 values on the midline come first, then the left side, then the right one in the same order.
    left, right = values[18:36], values[36:]
    opposite = brain_scheme().opposite_table(torch.device("cpu"))
    assert opposite[left].tolist() == right
    assert opposite[values[:18]].tolist() == values[:18]
    targets = dict(zip(values, np.load(tables / "synthseg_segmentation_labels.npy").tolist(), strict=True))
    targets[24] = 24  # as in the second release, whose tables have one entry more
    assert 24 in np.load(tables / "synthseg_segmentation_labels_2.0.npy")
    assert brain_scheme().target_table(torch.device("cpu"))[values].tolist() == [
        targets[value] for value in values
    ]


def test_the_maps_of_the_data(real_data):
    paths = sorted((real_data / "brain_label_maps").glob("*.nii.gz"))
    assert len(paths) == 12
    for path in paths[6:8]:
        labels = np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)
        assert np.array_equal(labels, labels.round())
        brain_scheme().check(torch.from_numpy(labels.astype(np.int32)))
        sides = [np.argwhere(labels == value)[:, 0].mean() for value in (2, 41)]
        assert sides[0] < sides[1], "the first axis leads to the right"
