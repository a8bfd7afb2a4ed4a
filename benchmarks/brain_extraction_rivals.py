"""Brain masks by other tools, in an environment that has `brainextractor` and `dipy`; run by `brain_extraction.py`.

    python brain_extraction_rivals.py METHOD < JOBS

JOBS is a JSON list of pairs, an image and the mask to write. Prints a JSON line for each: seconds from file to file, or
what went wrong. A small part of the first image goes before, for what is compiled on the way is not of the method.
"""

import json
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to, resample_to_output


def bet(image: nib.Nifti1Image) -> np.ndarray:
    """Smith 2002, as `brainextractor` has it, with its defaults.

    It takes all edges of a voxel to be as long as the first, so thick slices are cut into 1 mm for it.
    """
    from brainextractor import BrainExtractor

    edges = image.header.get_zooms()[:3]
    even = image if max(edges) < 1.05 * min(edges) else resample_to_output(image, (1.0, 1.0, 1.0), order=1)
    extractor = BrainExtractor(img=even)
    extractor.run()
    mask = nib.Nifti1Image((extractor.compute_mask() > 0).astype(np.uint8), even.affine)
    return np.asarray(resample_from_to(mask, image, order=0).dataobj) > 0


def otsu(image: nib.Nifti1Image) -> np.ndarray:
    """A median filter and Otsu's threshold (dipy), the filter as narrow as in dipy's tutorial.

    Its defaults, a radius of 4 voxels and four passes, take minutes for a head at 1 mm.
    """
    from dipy.segment.mask import median_otsu

    return median_otsu(np.asarray(image.dataobj, dtype=np.float64), median_radius=2, numpass=1)[1]


METHODS = {"bet": bet, "otsu": otsu}


def one(method: str, image: str, mask: str) -> dict:
    begin = time.perf_counter()
    try:
        loaded = nib.load(image)
        found = METHODS[method](loaded)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    Path(mask).parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(found.astype(np.uint8), loaded.affine), mask)
    return {"failed": None, "seconds": time.perf_counter() - begin}


def main() -> None:
    method, jobs = sys.argv[1], json.load(sys.stdin)
    if jobs:
        METHODS[method](nib.load(jobs[0][0]).slicer[::4, ::4, ::4])
    for image, mask in jobs:
        print("RESULT " + json.dumps(one(method, image, mask)), flush=True)


if __name__ == "__main__":
    main()
