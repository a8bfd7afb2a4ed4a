"""Say so when another distribution has installed its files into the same ``medkit`` package."""

from __future__ import annotations

import warnings
from pathlib import Path

OURS = "medkit_imaging"


def foreign_owners(package: Path) -> list[str]:
    """Distributions other than ours that install an import package called ``medkit``.

    Looks only at the records of distributions whose name begins with ``medkit``, beside the package:
    reading every record of an environment would cost more than the rest of the start-up.

    Args:
        package: folder of the ``medkit`` import package.
    """
    owners = []
    for info in sorted(package.parent.glob("medkit*.dist-info")):
        name = info.name.split("-")[0].lower()
        if name == OURS:
            continue
        record = info / "RECORD"
        top_level = info / "top_level.txt"
        listed = record.read_text(encoding="utf-8", errors="replace") if record.is_file() else ""
        named = top_level.read_text(encoding="utf-8", errors="replace").split() if top_level.is_file() else []
        if "medkit" in named or "\nmedkit/" in f"\n{listed}":
            owners.append(info.name.removesuffix(".dist-info"))
    return owners


def warn_of_foreign_owners() -> None:
    """Warn once, at import, when two distributions own ``medkit``."""
    if owners := foreign_owners(Path(__file__).parent):
        warnings.warn(
            f"two distributions own the import package 'medkit': medkit-imaging and {', '.join(owners)}; "
            f"their files overwrite each other. Uninstall both and install the one you want, "
            "or use one environment for each",
            stacklevel=3,
        )
