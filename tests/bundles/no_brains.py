"""Real images of other parts of the body, below the real data's folder."""

NO_BRAINS = (
    "abdomen_ct_mr/example_ct_sm.nii.gz",
    "abdomen_ct_mr/example_mr_sm.nii.gz",
    "spinal_cord/t2/t2.nii.gz",
)
