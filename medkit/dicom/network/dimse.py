"""An archive over DIMSE: C-ECHO, C-FIND in the study root, C-GET or C-MOVE, and C-STORE."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

import pydicom
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import _config, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    LabelMapSegmentationStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from medkit.dicom.network.answers import number_in, uid_in
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused, StudyMatch, TakeInstance
from medkit.dicom.network.association import MOST_CONTEXTS, Peer, check_answered
from medkit.dicom.network.encoded import Unidentified, received
from medkit.dicom.network.node import StorageNode
from medkit.dicom.network.quiet import keep_quiet
from medkit.dicom.network.syntaxes import COMPRESSED, NATIVE, PLAIN
from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pynetdicom.association import Association

    from medkit.dicom.network.tls import TlsFiles

__all__ = ["DimseArchive", "MoveTarget"]

_FIND = StudyRootQueryRetrieveInformationModelFind
_GET = StudyRootQueryRetrieveInformationModelGet
_MOVE = StudyRootQueryRetrieveInformationModelMove
_PENDING, _PENDING_WITHOUT_KEYS = 0xFF00, 0xFF01
_TAKEN = {0x0000, 0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)}  # success and warnings (PS3.7, C.1 to C.3)
_OUT_OF_RESOURCES, _DOES_NOT_MATCH = 0xA700, 0xA900
_NOT_ALL_SENT = (
    0xA702  # unable to perform suboperations: not one of them, for whatever reason (PS3.4, C.4.3.1.4)
)
_UTF_8 = "ISO_IR 192"
# What results and their sources mostly are: for archives that do not tell the class of an instance.
_USUAL_CLASSES = (
    SegmentationStorage,
    LabelMapSegmentationStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    ParametricMapStorage,
    KeyObjectSelectionDocumentStorage,
    CTImageStorage,
    MRImageStorage,
)

# Files are sent as they lie on disk, byte for byte and piece by piece; data sets given as such are encoded anew.
_config.STORE_SEND_CHUNKED_DATASET = True


@dataclass(frozen=True)
class MoveTarget:
    """Where an archive without C-GET sends what we fetch: a node of ours that listens for just as long.

    Args:
        ae_title: by which the archive knows it; host and port have to be entered there.
        port: TCP port to listen on.
        host: address of the network interface to listen on.
        tls: speak TLS there, with these files.
    """

    ae_title: str
    port: int
    host: str = "127.0.0.1"
    tls: TlsFiles | None = None


class DimseArchive:
    """An archive that speaks DIMSE; each call opens its own associations, so that calls may come from several threads.

    Args:
        host: name or address.
        port: TCP port.
        ae_title: its AE title.
        own_ae_title: ours, as the archive knows it.
        tls: speak TLS, with these files.
        move: fetch by C-MOVE to this node of ours, and not by C-GET; one call at a time then.
        seconds: how long the archive may be silent.

    Raises:
        UsageError: an AE title is none.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ae_title: str,
        own_ae_title: str = "MEDKIT",
        *,
        tls: TlsFiles | None = None,
        move: MoveTarget | None = None,
        seconds: float = 60,
    ) -> None:
        self._peer = Peer(host, port, ae_title, own_ae_title, tls, seconds)
        self._move = move

    @property
    def name(self) -> str:
        """AE title, host and port."""
        return self._peer.name

    def echo(self) -> None:
        """C-ECHO; see :class:`medkit.dicom.network.archive.Archive`."""
        with self._peer.associated([(Verification, PLAIN)]) as association:
            code = check_answered(self._peer, _guarded(self._peer, association.send_c_echo), "C-ECHO")
        if code != 0:
            raise self._refused("echo-failed", "C-ECHO", code)

    def find(self, filters: Mapping[str, str]) -> list[StudyMatch]:
        """C-FIND of studies; see :class:`medkit.dicom.network.archive.Archive`.

        Raises:
            UsageError: a filter is no keyword of DICOM.
        """
        if unknown := [keyword for keyword in filters if tag_for_keyword(keyword) is None]:
            raise UsageError(
                f"{unknown[0]}: expected a keyword of a DICOM attribute such as StudyDate, got none; see PS3.6"
            )
        keys = {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": "", **filters}
        found = {}
        for answer in self._find("STUDY", keys, filters):
            study = uid_in(answer, "StudyInstanceUID", self.name)
            count = number_in(answer, "NumberOfStudyRelatedInstances", self.name)
            found[study] = StudyMatch(study, instances=count)
        return [match for study, match in sorted(found.items()) if study]

    def counts(self, study_uid: str) -> dict[str, int]:
        """C-FIND of series; those that come without a number are counted instance by instance."""
        keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
        counts = {}
        for answer in self._find("SERIES", keys):
            series = uid_in(answer, "SeriesInstanceUID", self.name)
            count = number_in(answer, "NumberOfSeriesRelatedInstances", self.name)
            if series:
                counts[series] = len(self._instances(study_uid, series)) if count is None else count
        return counts

    def retrieve(self, study_uid: str, take: TakeInstance) -> int:
        """C-GET or C-MOVE, series by series, of the instances that C-FIND lists: all of them, or it is refused."""
        fetched: set[str] = set()
        listed: set[str] = set()
        keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""}
        for answer in self._find("SERIES", keys):
            series = uid_in(answer, "SeriesInstanceUID", self.name)
            if not series:
                continue
            instances = self._instances(study_uid, series)
            listed |= instances.keys()
            query = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series}
            fetched |= self._fetch("SERIES", query, set(instances.values()), take)
        if missing := listed - fetched:
            raise ArchiveRefused(
                "retrieve-incomplete",
                f"{self.name}: expected all {len(listed)} instances of a study, got all but {len(missing)}; "
                "see in the archive's log why it did not send them",
            )
        return len(fetched)

    def send(self, paths: Sequence[Path]) -> dict[str, str | None]:
        """C-STORE, each file in its own transfer syntax, or in a plain one where the archive takes no other."""
        files = [_Stored.read(path) for path in paths]
        answers: dict[str, str | None] = {}
        kinds = sorted({(file.sop_class, file.syntax) for file in files})
        at_once = MOST_CONTEXTS // (1 + len(PLAIN))
        for start in range(0, len(kinds), at_once):
            now = set(kinds[start : start + at_once])
            answers |= self._send([file for file in files if (file.sop_class, file.syntax) in now], now)
        return answers

    def read_back(self, study_uid: str, series_uid: str, sop_uid: str) -> Dataset | None:
        """C-GET or C-MOVE of one instance that C-FIND has found."""
        classes = self._instances(study_uid, series_uid, sop_uid)
        if not classes:
            return None
        came: dict[str, Dataset] = {}

        def keep(study: str, sop: str, file: IO[bytes]) -> None:
            came[sop] = pydicom.dcmread(io.BytesIO(file.read()))

        query = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": sop_uid}
        self._fetch("IMAGE", query, set(classes.values()), keep)
        if sop_uid not in came:
            raise ArchiveRefused(
                "retrieve-incomplete",
                f"{self.name}: expected an object that it lists, got none; see in the archive's log why",
            )
        return came[sop_uid]

    def _find(
        self, level: str, keys: Mapping[str, str], filters: Mapping[str, str] | None = None
    ) -> Iterator[Dataset]:
        query = Dataset()
        query.QueryRetrieveLevel = level
        if not all(value.isascii() for value in keys.values()):
            query.SpecificCharacterSet = _UTF_8
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        with self._peer.associated([(_FIND, PLAIN)]) as association:
            answers = _guarded(self._peer, lambda: list(association.send_c_find(query, _FIND)))
        for status, answer in answers:
            code = check_answered(self._peer, status, "C-FIND")
            if code == 0:
                return
            if code not in (_PENDING, _PENDING_WITHOUT_KEYS) or answer is None:
                raise self._refused("find-failed", "C-FIND", code)
            ignored = [keyword for keyword in filters or () if not answer.get(keyword)]
            if code == _PENDING_WITHOUT_KEYS and ignored:
                raise ArchiveRefused(
                    "filter-unknown",
                    f"{self.name}: expected studies chosen by {', '.join(filters or ())}, got an answer that "
                    f"{', '.join(ignored)} was not looked at; filter by something else",
                )
            yield answer

    def _instances(self, study_uid: str, series_uid: str, sop_uid: str = "") -> dict[str, str]:
        """SOP Instance UID to SOP Class UID, empty where the archive does not tell, of a series or one instance."""
        keys = {
            "StudyInstanceUID": study_uid,
            "SeriesInstanceUID": series_uid,
            "SOPInstanceUID": sop_uid,
            "SOPClassUID": "",
        }
        found = {
            uid_in(one, "SOPInstanceUID", self.name): uid_in(one, "SOPClassUID", self.name)
            for one in self._find("IMAGE", keys)
        }
        if "" in found:
            raise ArchiveRefused(
                "answer-unreadable",
                f"{self.name}: expected a SOPInstanceUID in an answer about an instance, got none",
            )
        return found

    def _fetch(self, level: str, query: Mapping[str, str], classes: set[str], take: TakeInstance) -> set[str]:
        """Fetch instances; give the UIDs of those that were taken."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in query.items():
            setattr(identifier, keyword, value)
        fetching = _Fetching(query["StudyInstanceUID"], take)
        if self._move is None:
            known = {one for one in classes if one}
            self._get(identifier, sorted(known or _USUAL_CLASSES), fetching)
        else:
            self._move_here(identifier, self._move, fetching)
        if fetching.failure is not None:
            raise fetching.failure
        return fetching.taken

    def _get(self, identifier: Dataset, classes: Sequence[str], fetching: _Fetching) -> None:
        contexts: list[tuple[str, Sequence[str]]] = [(_GET, PLAIN), *_contexts_of_stores(classes)]
        handlers = [(evt.EVT_C_STORE, fetching.answer_store)]
        roles = [build_role(UID(one), scp_role=True) for one in classes]
        with self._peer.associated(contexts, roles=roles, handlers=handlers) as association:
            self._follow(
                association, "C-GET", lambda: association.send_c_get(identifier, _GET), fetching, _GET
            )

    def _move_here(self, identifier: Dataset, target: MoveTarget, fetching: _Fetching) -> None:
        callers = [self._peer.ae_title]
        with (
            StorageNode(
                target.ae_title, fetching.store, callers, host=target.host, port=target.port, tls=target.tls
            ),
            self._peer.associated([(_MOVE, PLAIN)]) as association,
        ):

            def ask() -> Iterator[tuple[Dataset, Dataset | None]]:
                return association.send_c_move(identifier, target.ae_title, _MOVE)

            self._follow(association, "C-MOVE", ask, fetching, _MOVE)

    def _follow(
        self,
        association: Association,
        what: str,
        ask: Callable[[], Iterator[tuple[Dataset, Dataset | None]]],
        fetching: _Fetching,
        model: str,
    ) -> None:
        """Ask, and wait for the last answer; what did not come is seen by who asks."""
        if all(context.abstract_syntax != model for context in association.accepted_contexts):
            raise ArchiveRefused(
                "not-offered",
                f"{self.name}: expected {what}, got no offer; have it switched on, or take the other way",
            )
        answers = iter(_guarded(self._peer, ask))
        cancelled = False
        while True:
            status, _ = _guarded(self._peer, lambda: next(answers))
            code = status.get("Status")
            if code != _PENDING:
                break
            if fetching.failure is not None and not cancelled:
                association.send_c_cancel(1, query_model=model)
                cancelled = True
        if fetching.failure is not None or code == _NOT_ALL_SENT:
            return
        if check_answered(self._peer, status, what) not in _TAKEN and not fetching.taken:
            raise self._refused("retrieve-failed", what, int(status.Status))

    def _send(self, files: Sequence[_Stored], kinds: set[tuple[str, str]]) -> dict[str, str | None]:
        contexts = [(sop_class, [syntax]) for sop_class, syntax in sorted(kinds)]
        for sop_class, plain in sorted({(one, plain) for one, _ in kinds for plain in PLAIN}):
            if (sop_class, [plain]) not in contexts:
                contexts.append((sop_class, [plain]))
        try:
            with self._peer.associated(contexts) as association:
                return {file.sop_instance: self._store(association, file) for file in files}
        except ArchiveRefused as refused:
            if refused.code != "not-offered":
                raise
            return {file.sop_instance: file.not_offered for file in files}

    def _store(self, association: Association, file: _Stored) -> str | None:
        offered = {
            str(context.transfer_syntax[0])
            for context in association.accepted_contexts
            if context.abstract_syntax == file.sop_class
        }
        if file.syntax in offered:
            what: Path | Dataset = file.path
        elif file.syntax in PLAIN and offered & set(PLAIN):
            what = pydicom.dcmread(file.path)
        else:
            return file.not_offered
        status = _guarded(self._peer, lambda: association.send_c_store(what))
        code = check_answered(self._peer, status, "C-STORE")
        if code in _TAKEN:
            return None
        kind, meaning = STORAGE_SERVICE_CLASS_STATUS.get(code, ("Failure", "not known"))
        return f"expected status 0x0000 of C-STORE, got 0x{code:04X} ({kind}: {meaning or 'no more said'})"

    def _refused(self, code: str, what: str, status: int) -> ArchiveRefused:
        return ArchiveRefused(code, f"{self.name}: expected an answer to {what}, got status 0x{status:04X}")


@dataclass(frozen=True)
class _Stored:
    """A file that is to be sent."""

    path: Path
    sop_class: str
    sop_instance: str
    syntax: str

    @classmethod
    def read(cls, path: Path) -> _Stored:
        keep_quiet()
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            uids = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
        except Exception as error:  # whatever pydicom meets in what is no DICOM file
            raise UsageError(f"{path}: expected a DICOM file to send, got {error}; write it again") from error
        return cls(path, *map(str, uids))

    @property
    def not_offered(self) -> str:
        return f"expected the archive to take {UID(self.sop_class).name} in {UID(self.syntax).name}, got no offer"


class _Fetching:
    """What comes of a transfer; may be told of several instances at a time."""

    def __init__(self, study_uid: str, take: TakeInstance) -> None:
        self._study = study_uid
        self._take = take
        self._one_at_a_time = Lock()
        self.taken: set[str] = set()
        self.failure: BaseException | None = None

    def answer_store(self, event: Any) -> int:
        """The status for what a C-STORE brought."""
        try:
            found, file = received(event)
        except Unidentified as error:
            return error.dicom_status
        return self.store(found.study, found.sop_instance, file)

    def store(self, study: str, instance: str, file: IO[bytes]) -> int:
        """Give an instance away; after a failure nothing is taken any more."""
        if study != self._study:
            return _DOES_NOT_MATCH
        with self._one_at_a_time:
            if self.failure is not None:
                return _OUT_OF_RESOURCES
            try:
                self._take(study, instance, file)
            except BaseException as error:
                self.failure = error  # raised where it was asked for
                return _OUT_OF_RESOURCES
            self.taken.add(instance)
        return 0


def _contexts_of_stores(classes: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """One context for each class and syntax, so that instances come as they are stored; fewer for many classes."""
    most = (MOST_CONTEXTS - 1) // len(classes)
    every: list[Sequence[str]] = [[syntax] for syntax in (*NATIVE, *COMPRESSED)]
    if len(every) > most:
        every = [NATIVE, COMPRESSED]
    return [(one, syntaxes) for one in classes for syntaxes in every]


def _guarded(peer: Peer, call: Callable[[], Any]) -> Any:
    """Call what pynetdicom raises errors of its own from where an association is no more."""
    try:
        return call()
    except (RuntimeError, OSError, StopIteration) as error:
        raise ArchiveDown(f"{peer.name}: expected an answer, got none; the connection broke off") from error
