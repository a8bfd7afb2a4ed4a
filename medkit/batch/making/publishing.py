"""Put results under their names whole or not at all, through any crash.

Results of a claim lie in ``results/<study>/<revision>/<token>/``. A worker that lost its lease has another token than
the one that has the study now, so that it cannot touch what that one made.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medkit.batch.durable import sync_folder
from medkit.batch.identity import is_hash
from medkit.batch.ledger import State
from medkit.data.writing import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.batch.ledger import Claim, LedgerView

__all__ = ["entries", "published_folder", "publishing", "remove_debris", "sync_all"]


def published_folder(results: Path, claim: Claim) -> Path:
    """Where the results of a claim lie once they are whole."""
    return results / claim.study / str(claim.revision) / str(claim.token)


@contextmanager
def publishing(results: Path, claim: Claim) -> Iterator[Path]:
    """Give a folder to write into, which gets its name when the block succeeds and all of it is on disk.

    What earlier attempts at the revision left is removed first, as far as it can be: :func:`remove_debris` sees to the
    rest. Where the block raises, nothing stays.

    Args:
        results: folder of all results; made where there is none, for its owner alone.
        claim: the right to make the study.
    """
    folder = published_folder(results, claim)
    unfinished = folder.with_name(f"{UNFINISHED}{claim.token}")
    for made in (results, folder.parent.parent, folder.parent):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(made.parent)
    for earlier in folder.parent.iterdir():
        if 0 < _token(earlier) <= claim.token:
            shutil.rmtree(earlier, ignore_errors=True)  # a worker that lost its lease may still write there
    unfinished.mkdir(mode=0o700)
    try:
        yield unfinished
        sync_all(unfinished)
        unfinished.replace(folder)
        sync_folder(folder.parent)
    except BaseException:
        for left in (unfinished, folder):
            shutil.rmtree(left, ignore_errors=True)
        raise


def remove_debris(results: Path, ledger: LedgerView) -> list[Path]:
    """Remove what attempts that were killed left, and the ledger does not know; return the folders.

    What is being made now stays, and so do results of every revision that the ledger has.
    """
    gone = []
    for study in entries(results):
        for revision in entries(study) if is_hash(study.name) else ():
            for path in entries(revision):
                if _token(path) and not _counts(path, ledger):
                    shutil.rmtree(path, ignore_errors=True)  # a worker may finish or clean up meanwhile
                    gone.append(path)
    return gone


def entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, if it is one, piece by piece: all results of some years would fill the memory."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        for entry in found:
            yield Path(entry.path)


def _counts(path: Path, ledger: LedgerView) -> bool:
    """Whether the ledger knows the results of an attempt, or its revision is being made; asked after they were seen."""
    study, revision, token = path.parts[-3], int(path.parts[-2]), path.name
    with ledger.reading():
        if study not in ledger.find(study):  # not by its LedgerError: a broken disk raises one too
            return False
        record = ledger.study(study)
        making = record.state is State.RUNNING and record.revision == revision
        return making or token in {Path(one.path).parts[2] for one in ledger.results(study, revision)}


def _token(path: Path) -> int:
    """0 for what is no folder of ours."""
    number = path.name.removeprefix(UNFINISHED)
    return int(number) if number.isdecimal() and path.parent.name.isdecimal() else 0


def sync_all(folder: Path) -> None:
    """See that all below a folder is on the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            with Path(place, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))
