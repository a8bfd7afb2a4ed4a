"""medkit: medical-imaging segmentation and synthesis on MONAI bundles.

``medkit.load(name)`` gives a bundle that predicts; ``medkit.networks.create(name, ...)`` a network.
Tensors are ``(B, C, D, H, W)``; space is RAS millimetres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.ownership import warn_of_foreign_owners

if TYPE_CHECKING:
    from pathlib import Path

    from medkit.inference.predictor import LoadedBundle

__all__ = ["__version__", "load"]

__version__ = "0.1.0"

warn_of_foreign_owners()


def load(bundle: str | Path, **options: object) -> LoadedBundle:
    """Load a bundle with its weights, ready to predict.

    Args:
        bundle: name of one of medkit's bundles, or the folder of any MONAI bundle.
        options: passed on to :func:`medkit.inference.loading.load_bundle` (``device``, ``overrides``,
            ``flips``, ``weights``, ``accept_licence``, ``calibrate``).

    Raises:
        medkit.errors.UsageError: no such bundle, its terms are not accepted, or its config does not load.
    """
    from medkit.inference.loading import load_bundle

    return load_bundle(bundle, **options)  # type: ignore[arg-type]
