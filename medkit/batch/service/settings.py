"""What a service is told: one YAML file, checked against ``medkit/schemas/service.schema.json``.

A default stands where the value is used, and nowhere else: what the file does not say is not passed on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.folder import JobFolder
from medkit.batch.hours import parse_hours
from medkit.batch.intake.watch import WatchedFolder
from medkit.batch.ledger import Policy
from medkit.batch.making import BundleSettings, Outputs
from medkit.batch.rules_file import check_rules, read_rules
from medkit.batch.spool import SpoolLimits
from medkit.batch.status.alerts import Thresholds
from medkit.batch.yaml_faults import Place, check_yaml, close_to, placed, raise_faults
from medkit.dicom.confidentiality import Dates
from medkit.dicom.network.tls import TlsFiles
from medkit.dicom.writing.results import ResultKind
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from medkit.batch.rules import Rule

__all__ = [
    "ArchiveSettings",
    "NodeSettings",
    "PullSettings",
    "Settings",
    "WatchSettings",
    "WorkLimits",
    "node_address",
    "read_settings",
    "rules_path",
    "work_limits",
]

_GIB, _MIB = 1 << 30, 1 << 20
_ALL_HOSTS = frozenset({"0.0.0.0", "::"})
_REQUESTS = ("studies", "accessions", "filter")


@dataclass(frozen=True)
class ArchiveSettings:
    """An archive.

    Args:
        protocol: ``dimse`` or ``dicomweb``.
        options: of :class:`medkit.dicom.network.dimse.DimseArchive` or
            :class:`medkit.dicom.network.dicomweb.DicomwebArchive`.
    """

    protocol: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class NodeSettings:
    """A node that takes instances.

    Args:
        ae_title: its own.
        callers: AE titles that may call.
        options: others of :class:`medkit.dicom.network.node.StorageNode`.
        associations: at one time; as many as the node takes by itself where this is ``None``.
        count_at: name of the archive that is asked how many instances a study has before it counts as all there.
        ends: what says that all was sent as a release does, of :class:`medkit.dicom.network.senders.End`.
    """

    ae_title: str
    callers: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    associations: int | None = None
    count_at: str | None = None
    ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class WatchSettings:
    """A watched folder.

    Args:
        folder: which.
        options: others of :class:`medkit.batch.intake.watch.WatchedFolder`.
        poll_seconds: from one look at it to the next.
    """

    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    poll_seconds: float = 5.0


@dataclass(frozen=True)
class PullSettings:
    """What an archive is asked for.

    Args:
        archive: its name.
        asked: ``studies`` or ``accessions`` with the file of a list, or ``filter`` with a mapping.
        options: others of :class:`medkit.batch.intake.pull.Puller`.
    """

    archive: str
    asked: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkLimits:
    """What a worker may take.

    Args:
        memory_bytes: of one worker's process; ``None``: its share of what the machine has, see
            :func:`medkit.batch.service.memory.worker_memory`, and no limit of ours for workers of a cluster.
        stage_seconds: for one stage of a study (reading, predicting or writing).
        stop_seconds: for what is begun to be ended when the service is stopped.
    """

    memory_bytes: int | None = None
    stage_seconds: float = 3600.0
    stop_seconds: float = 30.0


@dataclass(frozen=True)
class Settings:
    """What a service does; see docs/batch.md for the keys of the file.

    Args:
        job: folder of the batch.
        rules: which bundle a study goes to.
        folders: destinations that are folders, by name.
        archives: by name.
        sending: names of those that are destinations.
        nodes: sources.
        watched: sources.
        pulls: sources.
        outputs: what results become.
        bundles: how bundles are run, by name.
        workers: processes that make and deliver.
        cluster: that makes studies in the place of workers; one process here sends them there and delivers.
        device: for all bundles; each one's own choice by default.
        quiet_seconds: a study of which nothing came for so long is all there.
        retention_days: for which instances of finished studies are kept.
        limits: of workers.
        spool: how much is taken.
        policy: how often and when a study is tried again.
        status_host: address on which the status is served.
        status_port: 0 takes a free one; ``None`` serves none.
        status_names: by which it may be asked for, besides its addresses.
        thresholds: when to call a person.
        shadow: make everything and send nothing.
    """

    job: JobFolder
    rules: tuple[Rule, ...]
    folders: Mapping[str, Path] = field(default_factory=dict)
    archives: Mapping[str, ArchiveSettings] = field(default_factory=dict)
    sending: tuple[str, ...] = ()
    nodes: tuple[NodeSettings, ...] = ()
    watched: tuple[WatchSettings, ...] = ()
    pulls: tuple[PullSettings, ...] = ()
    outputs: Outputs = field(default_factory=Outputs)
    bundles: Mapping[str, BundleSettings] = field(default_factory=dict)
    workers: int = 1
    cluster: ClusterSettings | None = None
    device: str | None = None
    quiet_seconds: float = 60.0
    retention_days: float = 30.0
    limits: WorkLimits = field(default_factory=WorkLimits)
    spool: SpoolLimits = field(default_factory=SpoolLimits)
    policy: Policy = field(default_factory=Policy)
    status_host: str = "127.0.0.1"
    status_port: int | None = 8090
    status_names: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    shadow: bool = False


def read_settings(path: Path) -> Settings:
    """The settings of a file, and the rules that it names. Paths are relative to the file's folder.

    Raises:
        UsageError: a file cannot be read or says something wrong: each fault in a line, with its place in the file.
    """
    base = path.absolute().parent
    content, faults = check_yaml(path, "service.schema.json", lambda content: _contradictions(content, base))
    raise_faults(faults + _faults_of_rules(path, content))
    return _settings(content, base)


def rules_path(path: Path, content: Mapping[str, Any]) -> Path:
    """The rules file that the settings name which were read from a file."""
    return path.absolute().parent / str(content["rules"])


def node_address(options: Mapping[str, Any]) -> tuple[str, int]:
    """Host and port on which a node of these options listens."""
    from medkit.dicom.network.node import StorageNode

    known = signature(StorageNode).parameters
    return options.get("host", known["host"].default), options.get("port", known["port"].default)


def _faults_of_rules(path: Path, content: Mapping[str, Any]) -> list[str]:
    """What is wrong with the rules, or between them and the settings, of which more may be wrong."""
    if not isinstance(content.get("rules"), str):
        return []  # which is a fault of the settings
    rules = rules_path(path, content)
    try:
        return check_rules(rules) or placed(path, _unused_bundles(content, read_rules(rules)))
    except UsageError as error:
        return placed(path, [(("rules",), str(error))])


def _contradictions(content: dict[str, Any], base: Path) -> Iterator[tuple[Place, str]]:
    """What no schema can say."""
    archives = content.get("archives", {})
    names = [name for known in archives.values() for name in known]
    yield from _unknown_archives(content, names)
    for name in sorted(set(archives.get("dimse", {})) & set(archives.get("dicomweb", {}))):
        yield ("archives", "dicomweb", name), "expected a name of its own, got that of a DIMSE archive"
    for name in sorted(set(content["destinations"].get("folders", {})) & set(names)):
        yield ("destinations", "folders", name), "expected a name of its own, got that of an archive"
    yield from _shared_ports(content)
    yield from _wrong_hours(content)
    yield from _wrong_cluster(content)
    yield from _wrong_watches(content, base)
    for number, pull in enumerate(content["sources"].get("archives", ())):
        asked = [key for key in _REQUESTS if key in pull]
        if len(asked) != 1:
            got = " and ".join(asked) or "none"
            yield ("sources", "archives", number), f"expected one of {', '.join(_REQUESTS)}, got {got}"


def _unknown_archives(content: dict[str, Any], names: list[str]) -> Iterator[tuple[Place, str]]:
    known = ", ".join(sorted(names)) or "none yet: name one below archives.dimse or archives.dicomweb"
    for number, node in enumerate(content["sources"].get("nodes", ())):
        name = node.get("count_at")
        if name is not None and name not in names:
            yield (
                ("sources", "nodes", number, "count_at"),
                f"expected the name of an archive ({known}), got '{name}'",
            )
    for number, pull in enumerate(content["sources"].get("archives", ())):
        if pull["archive"] not in names:
            place: Place = ("sources", "archives", number, "archive")
            yield place, f"expected the name of an archive ({known}), got '{pull['archive']}'"
    for number, name in enumerate(content["destinations"].get("archives", ())):
        if name not in names:
            yield (
                ("destinations", "archives", number),
                f"expected the name of an archive ({known}), got '{name}'",
            )


def _unused_bundles(content: Mapping[str, Any], rules: Iterable[Rule]) -> Iterator[tuple[Place, str]]:
    """Settings of a bundle that no rule uses: the one that is meant would run without them."""
    used, named = {rule.bundle for rule in rules}, content.get("bundles")
    for name in named if isinstance(named, dict) else ():
        if not isinstance(name, str) or name in used:
            continue
        close = close_to(name, used, cutoff=0.75)  # names of bundles have much in common
        hint = f"; did you mean '{close}'?" if close else "; mend the name, or leave it out"
        yield (
            ("bundles", name),
            f"expected a bundle that a rule uses ({', '.join(sorted(used))}), got '{name}'{hint}",
        )


def _shared_ports(content: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """What would listen where the status page or a node does."""
    from medkit.dicom.network.dimse import MoveTarget

    status = content.get("status", {})
    page = (status.get("host", Settings.status_host), status.get("port", Settings.status_port))
    taken: list[tuple[str, str, int]] = [("the status page", *page)]
    asked: list[tuple[Place, str, int, str]] = []
    for number, node in enumerate(content["sources"].get("nodes", ())):
        asked.append((("sources", "nodes", number, "port"), *node_address(node), f"node {node['ae_title']}"))
    for name, archive in content.get("archives", {}).get("dimse", {}).items():
        if move := archive.get("move"):
            host = move.get("host", MoveTarget.host)
            asked.append((("archives", "dimse", name, "move", "port"), host, move["port"], ""))
    for place, host, port, name in asked:
        for other, other_host, other_port in taken:
            if port == other_port != 0 and (host == other_host or {host, other_host} & _ALL_HOSTS):
                yield (
                    place,
                    f"expected a port of its own, got {port}, that of {other}; give one of them another",
                )
                break
        if name:  # a node that an archive moves to listens for a while
            taken.append((name, host, port))


def _wrong_cluster(content: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    if "cluster" not in content:
        return
    if "workers" in content:
        yield ("workers",), "expected no number of workers beside a cluster, got one; leave it out"
    try:
        _cluster(content["cluster"], Path())
    except UsageError as error:
        yield ("cluster",), str(error).removeprefix("cluster: ")


def _wrong_hours(content: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    given: list[tuple[Place, str]] = [
        (("sources", "archives", number, "hours", place), text)
        for number, pull in enumerate(content["sources"].get("archives", ()))
        for place, text in enumerate(pull.get("hours", ()))
    ]
    if "expected" in content.get("alerts", {}):
        given.append((("alerts", "expected"), content["alerts"]["expected"]))
    for where, text in given:
        try:
            parse_hours(text)
        except UsageError as error:
            yield where, str(error)


def _wrong_watches(content: dict[str, Any], base: Path) -> Iterator[tuple[Place, str]]:
    job = base / content["folder"]
    quiet = content.get("quiet_seconds", Settings.quiet_seconds)
    for number, watched in enumerate(content["sources"].get("folders", ())):
        place: Place = ("sources", "folders", number)
        folder = base / watched["folder"]
        if job.is_relative_to(folder) or folder.is_relative_to(job):
            yield (
                (*place, "folder"),
                "expected a folder apart from that of the batch, got one of them in the other",
            )
        rest = watched.get("rest_seconds", signature(WatchedFolder).parameters["rest_seconds"].default)
        poll = watched.get("poll_seconds", WatchSettings.poll_seconds)
        if rest + poll >= quiet:
            yield (
                place,
                f"expected rest_seconds plus poll_seconds below quiet_seconds, got {rest:g} + {poll:g} and {quiet:g}",
            )


def _settings(content: dict[str, Any], base: Path) -> Settings:
    sources, destinations, limits = content["sources"], content["destinations"], content.get("limits", {})
    given: dict[str, Any] = {
        key: content[key]
        for key in ("workers", "device", "quiet_seconds", "retention_days", "shadow")
        if key in content
    }
    if "cluster" in content:
        given["cluster"] = _cluster(content["cluster"], base)
    status = content.get("status", {})
    given |= {f"status_{key}": tuple(value) if key == "names" else value for key, value in status.items()}
    return Settings(
        job=JobFolder(base / content["folder"]),
        rules=read_rules(base / content["rules"]),
        folders={name: base / folder for name, folder in destinations.get("folders", {}).items()},
        archives={
            name: ArchiveSettings(protocol, _archive(options, base))
            for protocol, archives in content.get("archives", {}).items()
            for name, options in archives.items()
        },
        sending=tuple(destinations.get("archives", ())),
        nodes=tuple(_node(one, base) for one in sources.get("nodes", ())),
        watched=tuple(_watch(one, base) for one in sources.get("folders", ())),
        pulls=tuple(_pull(one, base) for one in sources.get("archives", ())),
        outputs=_outputs(content.get("outputs", {})),
        bundles={name: _bundle(one, base) for name, one in content.get("bundles", {}).items()},
        limits=work_limits(limits),
        spool=_spool(limits),
        policy=_policy(limits),
        thresholds=_thresholds(content.get("alerts", {})),
        **given,
    )


def _cluster(given: Mapping[str, Any], base: Path) -> ClusterSettings:
    options = _with_tls(given, base)
    for key in {"scheduler_file", "folder"} & options.keys():
        options[key] = base / options[key]
    return ClusterSettings(**options)


def _archive(given: Mapping[str, Any], base: Path) -> dict[str, Any]:
    options = _with_tls(given, base)
    if "move" in options:
        from medkit.dicom.network.dimse import MoveTarget

        options["move"] = MoveTarget(**_with_tls(options["move"], base))
    return options


def _with_tls(given: Mapping[str, Any], base: Path) -> dict[str, Any]:
    if "tls" not in given:
        return dict(given)
    return {**given, "tls": TlsFiles(**{name: base / file for name, file in given["tls"].items()})}


def _node(given: Mapping[str, Any], base: Path) -> NodeSettings:
    options = _with_tls(given, base)
    title, callers = options.pop("ae_title"), tuple(options.pop("callers"))
    associations, count_at = options.pop("associations", None), options.pop("count_at", None)
    ends = tuple(options.pop("ends", ()))
    return NodeSettings(title, callers, options, associations, count_at, ends)


def _watch(given: Mapping[str, Any], base: Path) -> WatchSettings:
    options = dict(given)
    folder, seconds = options.pop("folder"), options.pop("poll_seconds", WatchSettings.poll_seconds)
    return WatchSettings(base / folder, options, seconds)


def _pull(given: Mapping[str, Any], base: Path) -> PullSettings:
    options = dict(given)
    archive = options.pop("archive")
    asked = {key: options.pop(key) for key in _REQUESTS if key in options}
    for key in {"studies", "accessions"} & asked.keys():
        asked[key] = base / asked[key]
    if "hours" in options:
        options["windows"] = tuple(parse_hours(text) for text in options.pop("hours"))
    return PullSettings(archive, asked, options)


def _outputs(given: Mapping[str, Any]) -> Outputs:
    options = dict(given)
    if "kinds" in options:
        options["kinds"] = tuple(ResultKind(kind) for kind in options["kinds"])
    if "segmentation_type" in options:
        options["segmentation_type"] = SegmentationType(options["segmentation_type"])
    if "deidentify" in options:
        options["deidentify"] = Dates(options["deidentify"])
    return Outputs(**options)


def _bundle(given: Mapping[str, Any], base: Path) -> BundleSettings:
    options = dict(given)
    if "location" in options:
        options["location"] = base / options["location"]
    return BundleSettings(**options)


def work_limits(limits: Mapping[str, Any]) -> WorkLimits:
    """Those of the key ``limits`` of the file."""
    options = {key: limits[key] for key in ("stage_seconds", "stop_seconds") if key in limits}
    if "memory_gib" in limits:
        options["memory_bytes"] = int(limits["memory_gib"] * _GIB)
    return WorkLimits(**options)


def _spool(limits: Mapping[str, Any]) -> SpoolLimits:
    sizes = (
        ("instance_mib", "instance_bytes", _MIB),
        ("study_gib", "study_bytes", _GIB),
        ("free_gib", "free_bytes", _GIB),
    )
    options = {name: int(limits[key] * unit) for key, name, unit in sizes if key in limits}
    if "study_instances" in limits:
        options["study_instances"] = limits["study_instances"]
    return SpoolLimits(**options)


def _policy(limits: Mapping[str, Any]) -> Policy:
    names = {"attempts": "attempts", "retry_seconds": "delay_seconds"}
    return Policy(**{name: limits[key] for key, name in names.items() if key in limits})


def _thresholds(given: Mapping[str, Any]) -> Thresholds:
    options = dict(given)
    if "expected" in options:
        options["expected"] = parse_hours(options["expected"])
    return Thresholds(**options)
