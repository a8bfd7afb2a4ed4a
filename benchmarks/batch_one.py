"""One study, one process: read a series, segment it, write the DICOM objects, end.

    python benchmarks/batch_one.py FOLDER BUNDLE OBJECTS [KIND ...]

What a loop over a command line does, at its cheapest: no ledger, no copy of what came, nothing is read back.
"""

import sys
from pathlib import Path

import medkit.dicom
from medkit.batch.making import BundleShelf
from medkit.batch.making.predicting import as_image
from medkit.dicom.writing.results import ResultKind, write_results


def main() -> None:
    folder, bundle, objects, *kinds = sys.argv[1:]
    (source,) = medkit.dicom.read(Path(folder)).volumes
    shelved = BundleShelf().take(bundle)
    result = shelved.predict([as_image(source)])
    write_results(
        source,
        result.labels,
        result.grid.affine,
        shelved.maker,
        Path(objects),
        kinds=[ResultKind(kind) for kind in kinds] or list(ResultKind),
    )


if __name__ == "__main__":
    main()
