"""The third stage: from labels to DICOM objects on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from medkit.batch.ledger import IllegalTransition, LeaseLost, Result
from medkit.batch.making.known import KnownBundle
from medkit.batch.making.publishing import published_folder, publishing
from medkit.dicom.confidentiality import fingerprint
from medkit.dicom.network.content import content_hash
from medkit.dicom.writing.results import write_results
from medkit.dicom.writing.saving import instance_uid

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from medkit.batch.ledger import Claim
    from medkit.batch.making.context import MakingContext, Outputs
    from medkit.batch.making.predicting import JobPredicted, StudyPredicted
    from medkit.dicom.confidentiality import Deidentifier

__all__ = ["Objects", "StudyWritten", "record_made", "write_objects", "write_study", "written"]


@dataclass(frozen=True)
class StudyWritten:
    """A study whose results are on disk.

    Args:
        claim: the right to it.
        results: one for each object and destination, as the ledger takes them.
        recipe: SHA-256 of what they were made by: bundles, settings, versions, kinds of objects.
        makers: the bundles among these.
        refused: see :class:`medkit.batch.making.StudyRead`.
    """

    claim: Claim
    results: tuple[Result, ...]
    recipe: str
    makers: tuple[KnownBundle, ...]
    refused: str | None


@dataclass(frozen=True)
class Objects:
    """The objects of a study in a folder.

    Args:
        made: of each its path in the folder, its UID and the hash of its content.
        recipe: see :class:`StudyWritten`.
        makers: see there.
    """

    made: tuple[tuple[str, str, str], ...]
    recipe: str
    makers: tuple[KnownBundle, ...]


def write_study(predicted: StudyPredicted, context: MakingContext) -> StudyWritten:
    """Write the objects of a study, one folder a bundle, all or none.

    Their hashes are those of what is read from the disk again.

    Raises:
        LeaseLost: the study is no longer this worker's; nothing is left.
        CaseError: the source cannot be written about, or has changed since it was read.
        OSError: the disk is full or broken.
    """
    claim = predicted.claim
    with publishing(context.results, claim) as folder:
        withdrawn = context.ledger.withdrawn_uids(claim.study)
        objects = write_objects(predicted.jobs, folder, context.outputs, withdrawn)
        context.ledger.heartbeat(claim)
    return written(claim, objects, predicted.refused, context)


def write_objects(
    jobs: Sequence[JobPredicted], folder: Path, outputs: Outputs, withdrawn: Collection[str]
) -> Objects:
    """Write the objects of a study into a folder, one folder a bundle; no ledger is asked.

    Args:
        jobs: with their labels.
        folder: which is there, and empty.
        outputs: what is written.
        withdrawn: UIDs that may not come back.

    Raises:
        UsageError: results are to be nobody's, and there is no key.
        CaseError, OSError: see :func:`write_study`.
    """
    deidentifier = outputs.deidentifier()
    for job in jobs:
        _write_job(job, folder / job.maker.bundle, outputs, deidentifier, frozenset(withdrawn))
    found = sorted(folder.rglob("*.dcm"))
    made = tuple((path.relative_to(folder).as_posix(), *_identity(path)) for path in found)
    makers = dict.fromkeys(KnownBundle.of(job.maker) for job in jobs)
    return Objects(made, _recipe(jobs, outputs, deidentifier), tuple(makers))


def written(claim: Claim, objects: Objects, refused: str | None, context: MakingContext) -> StudyWritten:
    """Objects that lie where the results of a claim belong, one result for each destination."""
    place = published_folder(context.results, claim).relative_to(context.results)
    results = [
        Result(uid, destination, content, (place / name).as_posix())
        for name, uid, content in objects.made
        for destination in context.destinations
    ]
    return StudyWritten(claim, tuple(results), objects.recipe, objects.makers, refused)


def _notes(job: JobPredicted, deidentifier: Deidentifier | None) -> list[str]:
    """For the report; names of volumes have words out of headers."""
    if not job.channels:
        return [*job.notes]
    others = ", ".join(job.channels) if deidentifier is None else "other series of the study"
    return [*job.notes, f"its other channels are of {others}"]


def _write_job(
    job: JobPredicted,
    folder: Path,
    outputs: Outputs,
    deidentifier: Deidentifier | None,
    withdrawn: frozenset[str],
) -> None:
    """Write the first edition of which no object was withdrawn: a rejection note stands for ever."""
    result = job.result
    for edition in count():
        paths = write_results(
            job.source,
            result.labels,
            result.grid.affine,
            job.maker,
            folder,
            kinds=outputs.kinds,
            segmentation_type=outputs.segmentation_type,
            notes=_notes(job, deidentifier),
            allow_sheared=outputs.allow_sheared,
            edition=edition,
            deidentifier=deidentifier,
        ).values()
        if not withdrawn or withdrawn.isdisjoint(map(instance_uid, paths)):
            return
        for path in paths:
            path.unlink()


def _identity(path: Path) -> tuple[str, str]:
    """UID and content hash of an object on disk."""
    return instance_uid(path), content_hash(path)


def _recipe(jobs: Sequence[JobPredicted], outputs: Outputs, deidentifier: Deidentifier | None) -> str:
    told: dict[str, Any] = {
        "makers": sorted({job.maker.identity for job in jobs}),
        "kinds": sorted(outputs.kinds),
        "segmentation_type": outputs.segmentation_type,
        "repairs": sorted(outputs.repairs),
    }
    if deidentifier is not None:
        told["deidentified"] = [outputs.deidentify, fingerprint(deidentifier.key)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def record_made(written: StudyWritten, context: MakingContext) -> None:
    """Tell the ledger of results that are on disk. Where it does not take them, they are removed.

    Raises:
        LeaseLost: the study is no longer this worker's.
        IllegalTransition: a destination may have an object of the same UID and another content.
    """
    try:
        makers = [str(maker) for maker in written.makers]
        context.ledger.made(written.claim, written.results, written.recipe, makers, written.refused)
    except (LeaseLost, IllegalTransition):
        shutil.rmtree(published_folder(context.results, written.claim), ignore_errors=True)
        raise
