"""Decide who may run a bundle whose terms forbid commercial use: those who said that they accept them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.errors import UsageError

if TYPE_CHECKING:
    from medkit.bundle.store import BundleFolder

__all__ = ["accepted_licence"]


def accepted_licence(bundle: BundleFolder, *, accept: bool) -> str | None:
    """The terms that were accepted, for the record; ``None`` where a bundle asks for no acceptance.

    Args:
        bundle: to be loaded or trained. Its metadata ask for acceptance by ``"commercial_use": false``.
        accept: whether the user accepts its terms.

    Raises:
        UsageError: it asks for acceptance, and got none.
    """
    if bundle.commercial_use:
        return None
    if not accept:
        raise UsageError(
            f"{bundle.name}: expected that its terms are accepted, which forbid commercial use ({bundle.terms}), "
            f"got no word of it; read {bundle.root}/LICENSE, and add --accept-licence (in settings of a "
            "service accept_licence: true, in Python accept_licence=True)"
        )
    return bundle.terms
