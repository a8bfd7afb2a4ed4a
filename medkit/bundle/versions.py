"""Enforce the package versions that a bundle declares.

MONAI compares its own as a string and ignores the rest.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from packaging.version import InvalidVersion, Version

from medkit.errors import UsageError

__all__ = ["check_versions", "declared_versions", "require_training_packages"]


def declared_versions(metadata: dict[str, Any]) -> dict[str, str]:
    """Distribution name to the version that the bundle was tested with.

    Raises:
        UsageError: the packages are not declared as an object of names and versions.
    """
    packages = metadata.get("required_packages_version", metadata.get("optional_packages_version", {}))
    if not isinstance(packages, dict):
        raise UsageError(
            'metadata declares required_packages_version as something other than {"name": "version"}: '
            f"{packages!r:.80}"
        )
    declared = {
        "monai": metadata.get("monai_version"),
        "torch": metadata.get("pytorch_version"),
        "numpy": metadata.get("numpy_version"),
        **packages,
    }
    return {name: str(value) for name, value in declared.items() if value}


def require_training_packages() -> None:
    """Check that what only training needs is there.

    Raises:
        UsageError: with the ``pip install`` line that mends it.
    """
    missing = [name for name in ("pytorch_lightning", "mlflow") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this needs {' and '.join(missing)}, got an installation without: pip install 'medkit-imaging[train]'"
        )


def check_versions(metadata: dict[str, Any], bundle: str) -> None:
    """Check that every declared package is installed in that version or a later one.

    One that is declared as optional may be absent, but not older.

    Raises:
        UsageError: with the ``pip install`` line that mends it.
    """
    # Older bundles list what they may use as optional: itk, say, which their configs never name.
    optional = metadata.get("optional_packages_version", {})
    lacking = []
    for name, wanted in declared_versions(metadata).items():
        try:
            minimum = _public(wanted)
        except InvalidVersion as error:
            raise UsageError(
                f"{bundle}: metadata declares {name} '{wanted}', which is no version; "
                "write the bare number, such as 1.6.1"
            ) from error
        installed = _installed(name)
        if installed is None and name in optional:
            continue
        if installed is None or installed < minimum:
            lacking.append((f"{name}>={wanted}", f"{name} {wanted} (here: {installed or 'not installed'})"))
    if lacking:
        wanted_lines = ", ".join(line for _, line in lacking)
        command = " ".join(f"'{requirement}'" for requirement, _ in lacking)
        raise UsageError(f"{bundle}: needs at least {wanted_lines}; run: pip install {command}")


def _installed(name: str) -> Version | None:
    try:
        return _public(version(name))
    except PackageNotFoundError:
        return None


def _public(text: str) -> Version:
    """A version without its local build tag: +cpu or +cu126 says nothing of age."""
    return Version(Version(text).public)
