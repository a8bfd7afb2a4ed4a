"""The parts of a service, made from its settings; each process makes its own."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from medkit.batch.cluster.connection import Cluster
from medkit.batch.cluster.disks import check_own_disk
from medkit.batch.cluster.fitness import key_traits
from medkit.batch.delivery.destinations import ArchiveDestination, FolderDestination
from medkit.batch.delivery.noted import NotedDestination
from medkit.batch.folder import JobFolder
from medkit.batch.intake.counting import ArchiveCount
from medkit.batch.intake.pull import Puller
from medkit.batch.intake.requests import filter_request, read_accessions, read_studies
from medkit.batch.intake.watch import WatchedFolder
from medkit.batch.ledger import LedgerView, Mode
from medkit.batch.making import BundleShelf, MakingContext
from medkit.batch.notices import Notices
from medkit.dicom.confidentiality import KEY_VARIABLE, fingerprint
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from medkit.batch.delivery.destinations import Destination
    from medkit.batch.intake.memory import Memory
    from medkit.batch.intake.requests import Request
    from medkit.batch.intake.take import Intake
    from medkit.batch.ledger import Ledger
    from medkit.batch.service.settings import (
        ArchiveSettings,
        NodeSettings,
        PullSettings,
        Settings,
        WatchSettings,
    )
    from medkit.batch.spool import Spool
    from medkit.batch.yaml_faults import Place
    from medkit.dicom.network.archive import Archive
    from medkit.dicom.network.node import Rejection, StorageNode
    from medkit.dicom.network.senders import Sender

__all__ = [
    "SHADOW",
    "folder_faults",
    "make_archive",
    "make_cluster",
    "make_context",
    "make_counts",
    "make_destinations",
    "make_node",
    "make_puller",
    "make_requests",
    "make_watched",
    "missing_folders",
    "seen_folder",
    "wanted_key",
    "wanted_mode",
]

SHADOW = "shadow"
"""The destination of all results that are sent nowhere."""


def make_archive(settings: ArchiveSettings) -> Archive:
    """An archive; nothing is asked yet.

    Raises:
        UsageError: an option cannot be right, or an environment variable that it names is not set.
    """
    if settings.protocol == "dicomweb":
        from medkit.dicom.network.dicomweb import DicomwebArchive

        return DicomwebArchive(**settings.options)
    from medkit.dicom.network.dimse import DimseArchive

    return DimseArchive(**settings.options)


def make_destinations(settings: Settings) -> dict[str, Destination]:
    """All destinations by name; raises what :func:`make_archive` does."""
    found: list[Destination] = [FolderDestination(name, folder) for name, folder in settings.folders.items()]
    for name in settings.sending:
        found.append(ArchiveDestination(make_archive(settings.archives[name]), name=name))
    notices = Notices(settings.job.notices)
    return {one.name: NotedDestination(one, notices) for one in found}


def missing_folders(settings: Settings) -> list[tuple[Place, str]]:
    """Each destination that is a folder and is not there: a share that is not mounted, or a wrong path."""
    folders = {} if settings.shadow else settings.folders
    return [
        (("destinations", "folders", name), f"expected a folder at {folder}, got none; mount or make it")
        for name, folder in folders.items()
        if not folder.is_dir()
    ]


def folder_faults(settings: Settings) -> Iterator[tuple[Place, str]]:
    """What is wrong with a batch's folder: it lies in that of another, or its results were made otherwise.

    Raises:
        UsageError: results are to be nobody's, and there is no key.
        LedgerError: the ledger cannot be read.
    """
    job = settings.job
    if not job.ledger.exists():
        for other in (one for one in job.root.resolve().parents if JobFolder(one).ledger.exists()):
            yield (
                ("folder",),
                f"{job.root}: expected a folder of its own, got one in that of the batch {other}, where it may be taken "
                "for a part of its results; name another folder",
            )
        return
    with LedgerView(job.ledger) as view:
        begun, asked, bound = view.mode(), wanted_mode(settings), view.has_results()
    if not bound:
        return
    if begun.shadow != asked.shadow:
        yield (
            ("folder",),
            f"{job.root}: expected the folder of a batch that is always run {'with' if begun.shadow else 'without'} "
            "shadow mode, as its results were made; name another folder",
        )
    if begun.about != asked.about:
        yield (
            ("outputs", "deidentify"),
            f"{job.root}: expected the folder of a batch whose results are always {begun.whom}, as those that it has, "
            f"got {asked.whom}; {_other_key(begun, asked)}name another folder",
        )


def wanted_mode(settings: Settings) -> Mode:
    """How the settings would have a batch run.

    Raises:
        UsageError: results are to be nobody's, and there is no key.
    """
    deidentifier = settings.outputs.deidentifier()
    if deidentifier is None:
        return Mode(settings.shadow)
    return Mode(settings.shadow, f"{settings.outputs.deidentify} {fingerprint(deidentifier.key)}")


def _other_key(begun: Mode, asked: Mode) -> str:
    if begun.about and asked.about and begun.dates == asked.dates:
        return f"set {KEY_VARIABLE} to the key of before, or "
    return ""


def make_context(settings: Settings, ledger: Ledger, spool: Spool) -> MakingContext:
    """What the making of studies needs; no bundle is loaded yet."""
    return MakingContext(
        ledger=ledger,
        spool=spool,
        rules=settings.rules,
        shelf=BundleShelf(settings.bundles, settings.device),
        results=settings.job.results,
        destinations=[SHADOW] if settings.shadow else [*settings.folders, *settings.sending],
        outputs=settings.outputs,
    )


def make_cluster(settings: Settings, tell: Callable[[str | None], None]) -> Cluster:
    """The cluster of the settings; nobody is asked yet.

    Args:
        settings: with a cluster.
        tell: see :class:`medkit.batch.cluster.connection.Cluster`.

    Raises:
        UsageError: Dask is not installed, or the ledger is on no disk of this machine.
    """
    assert settings.cluster is not None
    if find_spec("distributed") is None:
        raise UsageError(
            "a cluster needs dask.distributed, got an installation without: pip install 'medkit-imaging[dask]'"
        )
    check_own_disk(settings.job.root)
    job, seen = settings.job, seen_folder(settings)
    bundles = {rule.bundle: settings.bundles.get(rule.bundle) for rule in settings.rules}
    places = {name: str(one.location) if one and one.location else name for name, one in bundles.items()}
    folders = {job.spool: seen.spool, job.results: seen.results}
    return Cluster(settings.cluster, folders, places, tell, wanted_key(settings))


def wanted_key(settings: Settings) -> dict[str, str]:
    """What workers of a cluster need to make nobody's results: the key of this process."""
    return {} if settings.outputs.deidentify is None else key_traits()


def seen_folder(settings: Settings) -> JobFolder:
    """The folder of the batch as workers of the cluster see it."""
    seen = None if settings.cluster is None else settings.cluster.folder
    return settings.job if seen is None else JobFolder(seen)


def make_counts(settings: Settings, intake: Intake) -> dict[str, ArchiveCount]:
    """What nodes count at, by name of the archive; nothing is asked yet. Raises what :func:`make_archive` does."""
    names = {node.count_at for node in settings.nodes if node.count_at is not None}
    return {
        name: ArchiveCount(name, make_archive(settings.archives[name]), intake, settings.quiet_seconds)
        for name in sorted(names)
    }


def make_node(
    settings: NodeSettings,
    intake: Intake,
    counts: Mapping[str, ArchiveCount] | None = None,
    rejected: Callable[[Rejection], None] = lambda rejection: None,
) -> StorageNode:
    """A node that does not listen yet.

    Args:
        settings: its own.
        intake: the door.
        counts: of :func:`make_counts`.
        rejected: see :class:`medkit.dicom.network.node.StorageNode`.

    Raises:
        UsageError: an AE title or a file of TLS cannot be used.
    """
    from medkit.dicom.network.node import NodeLimits, StorageNode
    from medkit.dicom.network.senders import End

    limits = None if settings.associations is None else NodeLimits(associations=settings.associations)
    ends = frozenset({End.RELEASE, *map(End, settings.ends)})

    def came(study_uid: str, sop_uid: str, sender: Sender) -> None:
        intake.note_sender(study_uid, sop_uid, sender.ae_title, sender.address)
        intake.associations.came(study_uid, sop_uid, sender, ends)

    return StorageNode(
        settings.ae_title,
        intake.answer if settings.count_at is None else (counts or {})[settings.count_at].answer,
        settings.callers,
        limits=limits,
        cut_off=intake.leave,
        comes_from=came,
        rejected=rejected,
        ended=partial(intake.associations.ended, ends=ends),
        **settings.options,
    )


def make_watched(settings: WatchSettings, intake: Intake, memory: Memory) -> WatchedFolder:
    """A watched folder that was not looked at yet."""
    return WatchedFolder(settings.folder, intake, memory, **settings.options)


def make_puller(
    settings: PullSettings, quiet_seconds: float, archive: Archive, intake: Intake, memory: Memory
) -> Puller:
    """A puller that has not asked yet.

    Args:
        settings: what it asks for.
        quiet_seconds: see :class:`medkit.batch.service.settings.Settings`.
        archive: whom it asks.
        intake: the door.
        memory: how far it came.

    Raises:
        UsageError: a list cannot be read, or a filter asks nothing.
    """
    policy, options = intake.ledger.policy, settings.options
    return Puller(
        archive,
        intake,
        make_requests(settings),
        memory,
        quiet_seconds=quiet_seconds,
        policy=policy,
        **options,
    )


def make_requests(settings: PullSettings) -> list[Request]:
    """What an archive is asked for.

    Raises:
        UsageError: a list cannot be read, or a filter asks nothing.
    """
    ((kind, asked),) = settings.asked.items()
    if kind == "filter":
        return [filter_request(asked)]
    return read_studies(asked) if kind == "studies" else read_accessions(asked)
