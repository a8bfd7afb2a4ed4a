"""The estimate of memory: near what was measured, and said in one line."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Activationsd, AsDiscreted

import medkit
from medkit.data import Case, Grid
from medkit.errors import CaseError
from medkit.inference import memory
from medkit.inference.memory import check_memory, describe_memory, estimate_bytes
from tests.phantoms import nifti, write_hippocampus

# Shape, spacing and gibibytes at the peak, from benchmarks/memory.py: images so large that windows do not count.
MEASURED = [
    ((512, 512, 300), (1.0, 1.0, 1.0), 1.84),
    ((512, 512, 300), (0.7, 0.7, 1.5), 2.10),
    ((256, 256, 160), (2.0, 2.0, 2.0), 2.25),
]


def grid(shape, spacing):
    return Grid(shape, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize(("shape", "spacing", "gibibytes"), MEASURED)
def test_estimate_lies_a_little_above_the_measurement(tiny_root, shape, spacing, gibibytes):
    bundle = medkit.load(tiny_root, overrides={"resample::dtype": "$torch.float32"})
    assert gibibytes < estimate_bytes(bundle, grid(shape, spacing), 1) / 2**30 < 1.5 * gibibytes


# Spacing, cases, whether probabilities are kept, whether uncertainty is judged: 14 classes of 192 x 192 x 160 voxels.
SOFT = [
    ((1.0, 1.0, 1.0), 1, True, False, 0.754),
    ((1.0, 1.0, 1.0), 1, False, True, 0.660),
    ((0.5, 0.5, 1.0), 1, True, True, 0.400),
    ((0.5, 0.5, 1.0), 3, True, False, 0.674),
]


@pytest.mark.parametrize(("spacing", "cases", "probabilities", "uncertainty", "gibibytes"), SOFT)
def test_estimate_with_probabilities(tiny, spacing, cases, probabilities, uncertainty, gibibytes):
    bundle = replace(tiny, output_format={"num_channels": 14})
    size, kept = grid((192, 192, 160), spacing), {"probabilities": probabilities, "uncertainty": uncertainty}
    assert gibibytes < estimate_bytes(bundle, size, 1, cases, **kept) / 2**30 < 1.65 * gibibytes


def test_probabilities_of_a_fine_image_are_not_held_at_once(tiny):
    bundle, size = replace(tiny, output_format={"num_channels": 60}), grid((512, 512, 300), (0.4, 0.4, 0.5))
    together = 512 * 512 * 300 * 60 * 4
    assert estimate_bytes(bundle, size, 1, probabilities=True, uncertainty=True) < together / 2


def test_a_finder_takes_what_it_takes_alone():
    """Measured on the MNI152 template by benchmarks/memory.py: 2.41 GiB by the finder."""
    cascade, finder = (
        medkit.load("hippocampus_volumetry", device="cpu"),
        medkit.load("brain_anatomy_segmentation"),
    )
    size = grid((197, 233, 189), (1.0, 1.0, 1.0))
    alone = estimate_bytes(finder, size, 1)
    assert 2.41 < alone / 2**30 < 1.3 * 2.41
    assert alone < estimate_bytes(cascade, size, 1) < 1.4 * alone
    flipped = medkit.load("hippocampus_volumetry", device="cpu", flips="LR")
    assert estimate_bytes(flipped, size, 1) >= estimate_bytes(cascade, size, 1)
    thick = grid((197, 233, 63), (1.0, 1.0, 3.0))
    assert estimate_bytes(cascade, thick, 1) == pytest.approx(estimate_bytes(cascade, size, 1), rel=0.3)


def test_resampling_in_double_precision_takes_twice_as_much(tiny_root):
    """Measured, before blocks were kept: 4.05 GiB."""
    size = grid((512, 512, 300), (0.7, 0.7, 1.5))
    double = medkit.load(tiny_root, overrides={"resample::dtype": "$torch.float64"})
    assert 4.05 < estimate_bytes(double, size, 1) / 2**30 < 1.5 * 4.05


def test_estimate_grows_with_everything(tiny):
    size = grid((256, 256, 100), (1.0, 1.0, 1.0))
    plain = estimate_bytes(tiny, size, 1)
    assert estimate_bytes(tiny, grid((256, 256, 200), (1.0, 1.0, 1.0)), 1) > 1.8 * plain
    assert estimate_bytes(tiny, grid((256, 256, 100), (1.0, 1.0, 2.0)), 1) > 2 * plain
    assert estimate_bytes(tiny, size, 4) > plain
    assert plain < estimate_bytes(tiny, size, 1, 2) < estimate_bytes(tiny, size, 1, 3)
    assert estimate_bytes(tiny, size, 1, 3) == estimate_bytes(tiny, size, 1, 300)
    assert estimate_bytes(tiny, size, 1, probabilities=True) > plain
    assert estimate_bytes(tiny, size, 1, uncertainty=True) > plain


def test_members_take_the_memory_of_one_more(tiny, tiny_root):
    size = grid((256, 256, 100), (1.0, 1.0, 1.0))
    plain = estimate_bytes(tiny, size, 1)
    two, eight = (medkit.load(tiny_root, flips=flips) for flips in ("LR", "LR,AP,SI"))
    assert plain <= estimate_bytes(two, size, 1) == estimate_bytes(eight, size, 1) < 2 * plain
    judged = [estimate_bytes(bundle, size, 1, uncertainty=True) for bundle in (tiny, two, eight)]
    assert judged[0] < judged[1] < judged[2] < 1.5 * judged[0]


def test_spacing_that_the_bundle_keeps(tiny_root):
    kept = medkit.load(tiny_root, overrides={"spacing": [-1.0, -1.0, -1.0]})
    size = grid((256, 256, 100), (0.5, 0.5, 3.0))
    assert estimate_bytes(kept, size, 1) == estimate_bytes(kept, grid(size.shape, (1.0, 1.0, 1.0)), 1)


def test_line_names_the_largest_image(tiny, tmp_path):
    write_hippocampus(tmp_path / "small.nii")
    nib.save(nifti(np.zeros((100, 60, 50), np.uint8), np.diag([3.0, 3, 3, 1])), tmp_path / "large.nii")
    (tmp_path / "broken.nii").write_text("")
    cases = [Case(name, (tmp_path / f"{name}.nii",)) for name in ("small", "large", "broken")]
    line = describe_memory(tiny, cases, 2**34, probabilities=False)
    assert line == (
        "memory: 0.3 GiB at the peak for the largest image (100 x 60 x 50 voxels of 3 x 3 x 3 mm), "
        "16.0 GiB free"
    )
    small = describe_memory(tiny, cases[:1], 2**20, probabilities=False)
    assert small.startswith("memory: less than 0.1 GiB at the peak")
    assert small.endswith("less than 0.1 GiB free")
    assert "no image can be read" in describe_memory(tiny, cases[2:], 1, probabilities=False)


def test_check_refuses_what_does_not_fit(tiny, tmp_path):
    write_hippocampus(tmp_path / "a.nii")
    case = Case("a", (tmp_path / "a.nii",))
    needed = estimate_bytes(tiny, memory.peek_channels(case.paths)[0], 1)
    check_memory(tiny, case, needed, 1, probabilities=False)
    with pytest.raises(CaseError, match=f"{tmp_path / 'a.nii'}: expected an image that fits") as caught:
        check_memory(tiny, case, needed - 1, 1, probabilities=False)
    assert caught.value.code == "too-large"
    (tmp_path / "a.nii").write_text("left to the reading")
    check_memory(tiny, case, 0, 1, probabilities=False)


def test_labels_without_scores_on_the_grid_of_the_image_take_less(tiny_root):
    """Many classes on a coarser grid: MONAI's own steps hold them on that of the image as well."""
    size = grid((512, 512, 300), (0.7, 0.7, 0.7))
    bundle = medkit.load(tiny_root)
    bundle.output_format = {"num_channels": 14}
    planes = estimate_bytes(bundle, size, 1)
    bundle.steps = [Activationsd("pred", softmax=True), AsDiscreted("pred", argmax=True)]
    assert estimate_bytes(bundle, size, 1) > 3 * planes
    assert estimate_bytes(medkit.load(tiny_root), size, 1, probabilities=True) > planes
