"""Contrasts of scanners: what every reader of images knows of them."""

from __future__ import annotations

from itertools import pairwise

from medkit.transforms.synthesis.brain_contrasts import brain_contrasts
from medkit.transforms.synthesis.brain_labels import brain_scheme

CONTRASTS = brain_contrasts()


def order(name: str, *tissues: str) -> bool:
    means = [CONTRASTS[name][tissue] for tissue in tissues]
    return all(one > other for one, other in pairwise(means))


def test_every_tissue_has_a_mean_from_0_to_1():
    for contrast in CONTRASTS.values():
        assert set(contrast) == set(brain_scheme().tissues)
        assert min(contrast.values()) == contrast["air"] == 0
        assert max(contrast.values()) == 1


def test_t1_has_bright_fat_and_white_matter_and_dark_fluid():
    for name in ("T1, inversion recovery", "T1, spin echo"):
        assert order(name, "skin", "white matter", "thalamus", "cortex", "ventricle")
        assert order(name, "pallidum", "putamen", "caudate")


def test_t2_has_bright_fluid_and_dark_white_matter():
    assert order(
        "T2", "ventricle", "white matter lesion", "cortex", "white matter", "pallidum", "cortical bone"
    )


def test_flair_is_a_t2_without_its_fluid():
    assert order("FLAIR", "white matter lesion", "cortex", "white matter", "ventricle")


def test_proton_density_has_little_contrast():
    assert order("proton density", "cortex", "white matter", "cortical bone")
    assert CONTRASTS["proton density"]["white matter"] > 0.75 * CONTRASTS["proton density"]["cortex"]
