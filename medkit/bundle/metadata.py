"""Render a bundle's ``metadata.json`` from its hand-written part and the record of its training."""

from __future__ import annotations

from typing import Any

__all__ = ["SCHEMA", "render_metadata"]

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"


def render_metadata(
    written: dict[str, Any], record: dict[str, Any] | None, evaluation: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Metadata of the bundle.

    Args:
        written: content of ``metadata.yaml``; its ``versions`` are the minima that a bundle needs.
        record: content of ``record.json``; with one, the versions that trained the weights, the hashes of the images
            that they were trained on, and the cross-validated figures come in.
        evaluation: content of ``evaluation.json``; its figures come in, and the hash of the weights they hold for.
    """
    metadata = dict(written)
    versions = dict(metadata.pop("versions"))
    rendered: dict[str, Any] = {
        "schema": SCHEMA,
        "version": metadata.pop("version"),
        "changelog": metadata.pop("changelog"),
        "monai_version": versions.pop("monai"),
        "pytorch_version": versions.pop("torch"),
        "numpy_version": versions.pop("numpy"),
        "required_packages_version": versions,
        **metadata,
    }
    if record is not None:
        rendered["training"] = {**record["training"], "images_sha256": _images(record)}
        if "scored_by" not in written:  # a benchmark, of the one network that there is
            rendered["cross_validation"] = record["cross_validation"]["summary"]
            rendered["calibration"] = record["calibration"]
    if record is not None and "volume_intervals" in record:  # not where the voxel size is unknown
        rendered["volume_intervals"] = record["volume_intervals"]
    else:
        rendered.pop("volume_intervals", None)  # how they are to be made, and none were
    if evaluation is not None:
        rendered["evaluation"] = {key: evaluation[key] for key in ("weights_sha256", "metrics")}
    return rendered


def _images(record: dict[str, Any]) -> list[str]:
    """The images that the network was trained on; a record of an older medkit has them among the data of all folds."""
    files = record.get("cross_validation", {}).get("data_sha256", {})
    images = {digest for file, digest in files.items() if not file.startswith("labels/")}
    found: list[str] = record["training"].get("images_sha256", sorted(images))
    return found
