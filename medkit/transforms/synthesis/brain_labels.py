"""The label scheme of the head maps that SynthSeg is trained on (Billot et al. 2023, https://arxiv.org/abs/2107.09559).

Values below 200 are FreeSurfer's, save for the choroid plexus, which those maps cut out of the ventricles; those above
500 are those of SimNIBS' head atlas for what lies outside the brain (``compressionLookupTable.txt`` of its
``charm_atlas_mni``; Puonti et al. 2020, https://doi.org/10.1016/j.neuroimage.2020.117044). What a network learns is
SynthSeg's list of 32 structures: choroid plexus counts as ventricle and a lesion of white matter as white matter.
"""

from __future__ import annotations

from functools import cache

from medkit.transforms.synthesis.label_scheme import LabelScheme, Structure

__all__ = ["brain_scheme"]

# name, tissue, left, right, and what a network learns of them where that is not themselves
_PAIRED = (
    ("cerebral white matter", "white matter", 2, 41, 2, 41),
    ("cerebral cortex", "cortex", 3, 42, 3, 42),
    ("lateral ventricle", "ventricle", 4, 43, 4, 43),
    ("inferior lateral ventricle", "ventricle", 5, 44, 5, 44),
    ("cerebellum white matter", "cerebellum white matter", 7, 46, 7, 46),
    ("cerebellum cortex", "cerebellum cortex", 8, 47, 8, 47),
    ("thalamus", "thalamus", 10, 49, 10, 49),
    ("caudate", "caudate", 11, 50, 11, 50),
    ("putamen", "putamen", 12, 51, 12, 51),
    ("pallidum", "pallidum", 13, 52, 13, 52),
    ("hippocampus", "hippocampus", 17, 53, 17, 53),
    ("amygdala", "amygdala", 18, 54, 18, 54),
    ("white matter lesion", "white matter lesion", 25, 57, 2, 41),
    ("accumbens area", "accumbens area", 26, 58, 26, 58),
    ("ventral DC", "ventral DC", 28, 60, 28, 60),
    ("vessel", "perforating vessel", 30, 62, 0, 0),
    ("choroid plexus of the lateral ventricle", "choroid plexus", 136, 163, 4, 43),
    ("choroid plexus of the inferior lateral ventricle", "choroid plexus", 137, 164, 5, 44),
)
# value, name, tissue, region, what a network learns
_ON_THE_MIDLINE = (
    (0, "background", "air", "outside", 0),
    (14, "3rd ventricle", "ventricle", "brain", 14),
    (15, "4th ventricle", "ventricle", "brain", 15),
    (16, "brain-stem", "brain-stem", "brain", 16),
    (24, "cerebrospinal fluid", "cerebrospinal fluid", "fluid", 24),
    (72, "5th ventricle", "ventricle", "brain", 0),
    (85, "optic chiasm", "optic chiasm", "brain", 0),
    (502, "artery", "artery", "outside", 0),
    (506, "eye", "eye", "outside", 0),
    (507, "other tissue", "other tissue", "outside", 0),
    (508, "eye muscle", "eye muscle", "outside", 0),
    (509, "mucosa", "mucosa", "outside", 0),
    (511, "skin", "skin", "outside", 0),
    (512, "spinal cord", "spinal cord", "outside", 0),
    (514, "vein", "vein", "outside", 0),
    (515, "cortical bone", "cortical bone", "outside", 0),
    (516, "cancellous bone", "cancellous bone", "outside", 0),
    (530, "optic nerve", "optic nerve", "outside", 0),
)


@cache
def brain_scheme() -> LabelScheme:
    """54 values, background included; left and right of a structure are of one tissue.

    >>> brain_scheme().values_of(["hippocampus"])
    (17, 53)
    """
    midline = [
        Structure(value, name, tissue, region, target, value)
        for value, name, tissue, region, target in _ON_THE_MIDLINE
    ]
    sides = [
        structure
        for name, tissue, left, right, left_target, right_target in _PAIRED
        for structure in (
            Structure(left, f"left {name}", tissue, "brain", left_target, right),
            Structure(right, f"right {name}", tissue, "brain", right_target, left),
        )
    ]
    return LabelScheme(midline + sides)
