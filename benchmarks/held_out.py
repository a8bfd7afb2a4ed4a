"""The hippocampus cases that each network of a cross-validated run was not trained on."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medkit.data import Volume, read_volume
from medkit.data.datalist import fold_items


def held_out_cases(fold: Path) -> Iterator[tuple[Volume, NDArray[Any]]]:
    """Image and reference labels of each.

    Args:
        fold: folder of the network's training, ``RUN/fold0`` and so on; the data lie in ``MEDKIT_DATA``.
    """
    dataset = Path(os.environ["MEDKIT_DATA"]) / "hippocampus"
    for item in fold_items(dataset, [int(fold.name.removeprefix("fold"))]):
        yield read_volume(Path(item["image"])), read_volume(Path(item["label"])).array
