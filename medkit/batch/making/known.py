"""The bundles that rules name, found and looked at without loading them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medkit.batch.making.bundles import BundleSettings, BundleShelf
from medkit.batch.making.channels import channel_order
from medkit.bundle.licence import accepted_licence
from medkit.bundle.store import find_bundle
from medkit.dicom.writing.maker import Maker
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from medkit.batch.rules import Rule
    from medkit.bundle.store import BundleFolder

__all__ = ["KnownBundle", "fitting_bundle", "known_bundle", "known_bundles", "loaded_bundles"]

_DIGITS = 12  # of a digest, by which the ledger tells one state of a bundle from others


@dataclass(frozen=True)
class KnownBundle:
    """A bundle in one state, by what people and logs call it.

    Args:
        name: its own, which the rules may call otherwise.
        version: its version.
        digest: see :meth:`medkit.bundle.store.BundleFolder.digest`.
    """

    name: str
    version: str
    digest: str

    @classmethod
    def of(cls, maker: Maker) -> KnownBundle:
        """That which makes results."""
        return cls(maker.bundle, maker.version, maker.digest)

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.digest[:_DIGITS]})"


def known_bundles(
    rules: Iterable[Rule], settings: Mapping[str, BundleSettings]
) -> tuple[list[KnownBundle], list[tuple[int, str]]]:
    """Each bundle that can be used, and for each rule whose bundle cannot its place, from 0, and why.

    Whether a bundle's network can be built shows when it is loaded.

    Args:
        rules: which bundles.
        settings: by name of the bundle.
    """
    return _asked(rules, lambda rule: known_bundle(rule, settings.get(rule.bundle, BundleSettings())))


def loaded_bundles(
    rules: Iterable[Rule], settings: Mapping[str, BundleSettings], device: str | None
) -> tuple[list[KnownBundle], list[tuple[int, str]]]:
    """As :func:`known_bundles`, of bundles that are loaded for it, as a worker loads them, one after another.

    Args:
        rules: which bundles.
        settings: by name of the bundle.
        device: for all of them; each one's own choice by default.
    """
    shelf = BundleShelf(settings, device, size=1)

    def load(rule: Rule) -> KnownBundle:
        shelved = shelf.take(rule.bundle)
        shelved.order(rule.inputs)
        return KnownBundle.of(shelved.maker)

    return _asked(rules, load)


def _asked(
    rules: Iterable[Rule], ask: Callable[[Rule], KnownBundle]
) -> tuple[list[KnownBundle], list[tuple[int, str]]]:
    known: dict[str, KnownBundle] = {}
    faults = []
    for number, rule in enumerate(rules):
        try:
            known[rule.bundle] = ask(rule)
        except UsageError as error:
            faults.append((number, str(error)))
    return list(known.values()), faults


def known_bundle(rule: Rule, settings: BundleSettings) -> KnownBundle:
    """The bundle of a rule.

    Raises:
        UsageError: it is not there; it is one of medkit's own without weights; its terms were not accepted; its inputs
            are not those of the rule; or a label has no code.
    """
    folder = fitting_bundle(rule, settings.location)
    accepted_licence(folder, accept=settings.accept_licence)
    if settings.location is None:  # somebody else's may have its weights anywhere
        _check_weights(folder)
    maker = Maker.from_metadata(folder.name, folder.metadata, folder.digest())
    maker.check_codes()
    return KnownBundle.of(maker)


def fitting_bundle(rule: Rule, location: Path | None = None) -> BundleFolder:
    """The folder of the bundle of a rule, whose inputs are those of the rule; nobody asks whether it may be used.

    Args:
        rule: which bundle.
        location: its folder, where it is none of medkit's own.

    Raises:
        UsageError: it is not there, or its inputs are others.
    """
    folder = find_bundle(location or rule.bundle)
    channel_order(folder, rule.inputs)
    return folder


def _check_weights(folder: BundleFolder) -> None:
    if folder.lacks_weights_of is not None:
        raise UsageError(
            f"{folder.name}: expected the weights of {folder.lacks_weights_of}, got none; train it, or fetch them"
        )
