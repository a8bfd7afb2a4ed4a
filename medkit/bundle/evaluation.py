"""Figures of a bundle that a script of ``benchmarks/`` measured, on data that no cross-validation can hold out.

``configs/<name>/evaluation.json`` goes with weights of one hash, those of bundles that this one runs among them: a
bundle is not built from figures of others. :mod:`medkit.training.adopt` takes the file away when it puts others in
place of its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medkit.data.hashing import hash_files
from medkit.data.writing import write_text
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["EVALUATION_FILE", "read_evaluation", "write_evaluation"]

EVALUATION_FILE = "evaluation.json"
_KEYS = {"weights_sha256": str, "metrics": dict, "text": str}


def write_evaluation(source: Path, weights: Sequence[Path], metrics: Mapping[str, float], text: str) -> Path:
    """Keep figures beside a bundle's sources; ``medkit bundle build`` takes them into metadata and card.

    Args:
        source: folder of the bundle's sources.
        weights: that were measured; see :func:`medkit.bundle.store.weights_in_use`.
        metrics: by what was measured, for ``metadata.json``.
        text: Markdown for the card, with headings of the third level and below.

    Returns:
        The file.
    """
    content = {"weights_sha256": hash_files(weights), "metrics": dict(metrics), "text": text}
    path = source / EVALUATION_FILE
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return path


def read_evaluation(source: Path, weights: Sequence[Path]) -> dict[str, Any] | None:
    """Figures beside a bundle's sources, if there are.

    Args:
        source: folder of the bundle's sources.
        weights: that the bundle takes.

    Raises:
        UsageError: the file is not one of figures, or they are of other weights.
    """
    path = source / EVALUATION_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = all(isinstance(content[key], kind) for key, kind in _KEYS.items())
    except (ValueError, KeyError, TypeError) as error:
        raise _not_figures(path, repr(error)) from error
    if not whole:
        raise _not_figures(path, "a value of another type")
    if hash_files(weights) != content["weights_sha256"]:
        measured = " and ".join(map(str, weights))
        raise UsageError(
            f"{path}: expected figures of {measured}, got those of weights that hash to {content['weights_sha256']}; "
            "measure again with the script that 'scored_by' names in metadata.yaml, or remove the file"
        )
    return content


def _not_figures(path: Path, what: str) -> UsageError:
    return UsageError(
        f"{path}: expected the figures of a benchmark ({', '.join(_KEYS)}), got {what}; write it by the script that "
        "'scored_by' names in metadata.yaml"
    )
