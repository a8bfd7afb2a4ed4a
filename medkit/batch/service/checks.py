"""Whether what the settings of a service name is there and can be used, before anything is begun.

What is looked at ends a service or keeps it from taking studies, and is told by its place in the file.
"""

from __future__ import annotations

import errno
import logging
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from medkit.batch.making import BundleSettings, KnownBundle, known_bundles
from medkit.batch.making.known import loaded_bundles
from medkit.batch.making.options import option_faults
from medkit.batch.service.elsewhere import ask_elsewhere
from medkit.batch.service.parts import (
    folder_faults,
    make_archive,
    make_cluster,
    make_requests,
    missing_folders,
)
from medkit.batch.service.settings import node_address, rules_path
from medkit.batch.yaml_faults import Place, placed
from medkit.bundle.fragments import read_yaml
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.listening import cannot_listen, listening_error
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from medkit.batch.service.settings import Settings

__all__ = ["Checked", "ask_archives", "check_settings"]

_LOG = logging.getLogger(__name__)
_GIB = 1 << 30
_BUNDLE_SECONDS = 600.0  # to look at one: a disk in a network is slow, and a driver that hangs is never done


@dataclass(frozen=True)
class Checked:
    """What was seen.

    Args:
        bundles: that will run.
        faults: for which a service ends at its start, one line each.
        doubts: that may be right so, and may not; one line each.
    """

    bundles: tuple[KnownBundle, ...]
    faults: tuple[str, ...]
    doubts: tuple[str, ...]

    def log_doubts(self) -> None:
        """Warn of what may be wrong."""
        for doubt in self.doubts:
            _LOG.warning("%s", doubt)


def check_settings(path: Path, settings: Settings, *, load: bool = False) -> Checked:
    """See whether a service can do what it is told; nothing is begun.

    Args:
        path: the file that the settings were read from.
        settings: of it, with the shadow that was asked for.
        load: load bundles too, where nothing else is wrong, as workers will; it takes their time and memory.

    Raises:
        MedkitError: the device or a bundle does not answer, see :func:`medkit.batch.service.elsewhere.ask_elsewhere`.
    """
    bundles, unfit = known_bundles(settings.rules, settings.bundles)
    found = [*missing_folders(settings), *_other_faults(settings)]
    if not unfit:
        found += _option_faults(settings)
    if load and not unfit and not found:
        # Of a cluster's device this machine need not have one.
        device = "cpu" if settings.cluster is not None and settings.device else settings.device
        seconds = _BUNDLE_SECONDS * (1 + len(bundles))  # the first is that of PyTorch
        bundles, unfit = ask_elsewhere(
            seconds, "load bundles", loaded_bundles, settings.rules, settings.bundles, device
        )
    in_rules: list[tuple[Place, str]] = []
    for number, message in unfit:
        name = settings.rules[number].bundle
        if name in settings.bundles:
            key = () if settings.bundles[name].location is None else ("location",)
            found.append((("bundles", name, *key), message))
        else:
            in_rules.append((("rules", number, "bundle"), message))
    rules = rules_path(path, read_yaml(path))
    faults = [*placed(path, dict.fromkeys(found)), *placed(rules, in_rules)]
    return Checked(tuple(bundles), tuple(faults), tuple(placed(path, _doubts(settings))))


def ask_archives(settings: Settings) -> Iterator[tuple[str, str | None]]:
    """Ask each archive of the settings whether it is there and lets us in: its name, and what is wrong.

    Raises:
        UsageError: an archive cannot be asked so; see :func:`medkit.batch.service.parts.make_archive`.
    """
    for name, known in settings.archives.items():
        try:
            make_archive(known).echo()
        except (ArchiveDown, ArchiveRefused) as error:
            yield name, str(error)
        else:
            yield name, None


def _option_faults(settings: Settings) -> list[tuple[Place, str]]:
    # A cluster has devices of its own.
    device = settings.device if settings.cluster is None else None
    used = {rule.bundle: settings.bundles.get(rule.bundle, BundleSettings()) for rule in settings.rules}
    # A CPU is everywhere, and the seconds that PyTorch takes are seconds in which no node listens.
    if device in (None, "cpu") and not any(one.overrides or one.flips for one in used.values()):
        return []
    what = f"look at the device{'' if device is None else f' {device}'} and the changes of bundles"
    return ask_elsewhere(_BUNDLE_SECONDS, what, option_faults, used, device)


def _other_faults(settings: Settings) -> Iterator[tuple[Place, str]]:
    without_key = [*_tried(("outputs", "deidentify"), settings.outputs.deidentifier)]
    yield from without_key or folder_faults(settings)
    asked = {pull.archive for pull in settings.pulls} | {node.count_at for node in settings.nodes}
    for name, known in settings.archives.items():
        place: Place = ("archives", known.protocol, name)
        if name in asked or (name in settings.sending and not settings.shadow):
            yield from _tried(place, partial(make_archive, known))
        if (move := known.options.get("move")) and move.tls is not None:
            yield from _tried((*place, "move", "tls"), move.tls.server_context)
        if known.protocol == "dimse" and (tls := known.options.get("tls")) is not None:
            yield from _tried((*place, "tls"), tls.client_context)
    for number, node in enumerate(settings.nodes):
        if (tls := node.options.get("tls")) is not None:
            yield from _tried(("sources", "nodes", number, "tls"), tls.server_context)
    for number, pull in enumerate(settings.pulls):
        kind = next(iter(pull.asked))
        yield from _tried(("sources", "archives", number, kind), partial(make_requests, pull))
    if settings.status_port is not None:
        yield from _not_free(settings, ("status",), settings.status_host, settings.status_port)
    for number, node in enumerate(settings.nodes):
        place = ("sources", "nodes", number)
        yield from _not_free(settings, place, *node_address(node.options))
    if settings.cluster is not None:
        yield from _tried(("cluster",), lambda: make_cluster(settings, lambda trouble: None))


def _not_free(settings: Settings, place: Place, host: str, port: int) -> Iterator[tuple[Place, str]]:
    """What keeps the service from listening; ports of one that works on the batch now are its own."""
    error = listening_error(host, port)
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    if error is None or (taken and settings.job.is_held()):
        return
    of_port = taken or isinstance(error, PermissionError)
    yield (*place, "port" if of_port else "host"), cannot_listen(host, port, error)


def _tried(place: Place, make: Callable[[], object]) -> Iterator[tuple[Place, str]]:
    try:
        make()
    except UsageError as error:
        yield place, str(error)


def _doubts(settings: Settings) -> Iterator[tuple[Place, str]]:
    for name, known in settings.archives.items():
        if move := known.options.get("move"):  # it listens while something is fetched
            yield from _not_free(settings, ("archives", known.protocol, name, "move"), move.host, move.port)
    for number, watched in enumerate(settings.watched):
        if not watched.folder.is_dir():
            yield (
                ("sources", "folders", number, "folder"),
                f"no folder at {watched.folder} now: nothing is taken from it until it is mounted or made",
            )
    disk = next(one for one in (settings.job.spool, *settings.job.spool.parents) if one.exists())
    free, kept = shutil.disk_usage(disk).free, settings.spool.free_bytes
    if free < kept:
        yield (
            ("limits", "free_gib"),
            f"{free / _GIB:.1f} GiB free on the disk of {settings.job.root}, and {kept / _GIB:g} are to stay free: "
            "nothing is taken until there is more",
        )
