"""Compile `configs/` into self-contained bundles.

``configs/<name>/`` holds ``inference.yaml``, ``train.yaml``, ``metadata.yaml`` and, once weights were adopted,
``record.json``; and ``evaluation.json`` where a benchmark scores them. Any other YAML there that has a trainer, under
``train::trainer``, is one more training of the same network, for ``medkit train --config``. The text of
``bundles/<name>/`` follows from these alone, byte for byte; weights are put there by :mod:`medkit.training.adopt`. A
bundle that runs the network of another has ``weights_of`` in its metadata and no ``train.yaml``; see
:mod:`medkit.bundle.borrowed`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medkit.bundle.borrowed import borrow_weights, intervals_by_side
from medkit.bundle.card import render_card
from medkit.bundle.evaluation import read_evaluation
from medkit.bundle.fragments import read_fragment
from medkit.bundle.metadata import render_metadata
from medkit.bundle.store import BundleFolder, bundles_root, has_trainer, weights_in_use
from medkit.data.writing import write_text
from medkit.errors import UsageError

__all__ = ["bundle_sources", "bundle_text", "sources_root", "write_bundle"]

_SHARED, _TRAIN = "shared", "train"
_KNOWN = (_TRAIN, "inference", "metadata")


def sources_root() -> Path:
    """Folder of the hand-written configs.

    Raises:
        UsageError: medkit runs from a wheel, which carries no sources.
    """
    root = bundles_root().parent / "configs"
    if not root.is_dir():
        raise UsageError(
            "configs/ is not here: bundles are built in medkit's source tree, not in an installed wheel"
        )
    return root


def bundle_sources(root: Path | None = None) -> list[Path]:
    """The source folder of every bundle, by name."""
    return sorted(path.parent for path in (root or sources_root()).glob("*/metadata.yaml"))


def bundle_text(source: Path, record: dict[str, Any] | None = None) -> dict[str, str]:
    """The text files of a bundle, by path relative to its root.

    Args:
        source: folder of its configs.
        record: of another training, not scored by a benchmark yet; ``record.json``, with what a benchmark measured, by
            default.

    Raises:
        UsageError: a fragment is missing or malformed, metadata or record lack what others are made from, or a benchmark
            measured other weights.
    """
    evaluation, inference = None, read_fragment(source / "inference.yaml")
    if record is None:
        record = _record(source)
        evaluation = read_evaluation(source, weights_in_use(_weights(bundles_root(), source.name), inference))
    written = read_fragment(source / "metadata.yaml")
    lender = written.get("weights_of")
    try:
        metadata = render_metadata(written, record, evaluation)
        licence_file = metadata["licence_file"]
        if lender and "volume_intervals" in (lent := _record(source.parent / lender) or {}):
            metadata["volume_intervals"] = intervals_by_side(lent["volume_intervals"], written["sides"])
    except KeyError as error:
        raise UsageError(f"{source}: metadata.yaml or record.json lacks the key {error}; add it") from error
    shared = source.parent / _SHARED
    return {
        "configs/inference.json": _json(inference),
        **(
            {}
            if lender
            else {f"configs/{name}.json": _json(found) for name, found in _trainings(source).items()}
        ),
        "configs/metadata.json": _json(metadata),
        "configs/logging.conf": _text(shared / "logging.conf"),
        "docs/README.md": render_card(shared / "card.md.j2", source.name, metadata, record, evaluation),
        "LICENSE": _text(shared / "licences" / f"{licence_file}.txt"),
    }


def write_bundle(source: Path, root: Path | None = None) -> list[Path]:
    """Write the text of a bundle under ``root`` (medkit's own bundles by default); return what changed.

    Weights of another bundle are copied from where that is under ``root``.
    """
    changed = []
    if lender := read_fragment(source / "metadata.yaml").get("weights_of"):
        own = _weights(root or bundles_root(), source.name)
        changed += [own] if borrow_weights(own, _weights(root or bundles_root(), lender)) else []
    for name, text in bundle_text(source).items():
        path = (root or bundles_root()) / source.name / name
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)
            changed.append(path)
    return changed


def _trainings(source: Path) -> dict[str, dict[str, Any]]:
    """The training configs by name; what they extend, such as ``network.yaml``, has no trainer."""
    others = [path for path in sorted(source.glob("*.yaml")) if path.stem not in _KNOWN]
    found = {path.stem: read_fragment(path) for path in (source / f"{_TRAIN}.yaml", *others)}
    return {name: config for name, config in found.items() if name == _TRAIN or has_trainer(config)}


def _weights(root: Path, name: str) -> Path:
    return BundleFolder(root / name).weights


def _record(source: Path) -> dict[str, Any] | None:
    path = source / "record.json"
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error}); adopt the run again") from error
    return record


def _text(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path}: no such file, and a bundle is built from it")
    return path.read_text(encoding="utf-8")


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=4, ensure_ascii=False) + "\n"
