"""What the making of studies needs, made once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medkit.batch.making.known import KnownBundle
from medkit.dicom.confidentiality import Dates, Deidentifier
from medkit.dicom.findings import Repair
from medkit.dicom.limits import Limits
from medkit.dicom.writing.results import ResultKind
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from medkit.batch.ledger import Ledger
    from medkit.batch.making.bundles import BundleShelf
    from medkit.batch.rules import Rule
    from medkit.batch.spool import Spool

__all__ = ["REPAIRS", "MakingContext", "Outputs"]

# Those that resample leave no images that results could refer to.
REPAIRS = [repair.value for repair in Repair if repair not in (Repair.DESHEAR, Repair.RESAMPLE)]


@dataclass(frozen=True)
class Outputs:
    """What a result becomes.

    Args:
        kinds: of objects.
        segmentation_type: of the segmentation.
        allow_sheared: write about slices of a tilted gantry too.
        repairs: of series, see :class:`medkit.dicom.Repair`; they are told in the report.
        deidentify: what becomes of dates in results about nobody; ``None``: these belong to their patient.

    Raises:
        UsageError: no kind of object; a segmentation of probabilities, which are not kept; or a repair that there is
            not, or that resamples, so that no result could refer to images.
    """

    kinds: Collection[ResultKind] = tuple(ResultKind)
    segmentation_type: SegmentationType = SegmentationType.BINARY
    allow_sheared: bool = False
    repairs: Collection[str] = ()
    deidentify: Dates | None = None

    def __post_init__(self) -> None:
        if not self.kinds:
            raise UsageError(
                f"expected kinds of objects to write ({', '.join(ResultKind)}), got none; name one"
            )
        if self.segmentation_type is SegmentationType.FRACTIONAL:
            raise UsageError(
                "expected BINARY or LABELMAP as the type of segmentations, got FRACTIONAL; choose one of them"
            )
        if wrong := [repair for repair in self.repairs if repair not in REPAIRS]:
            raise UsageError(
                f"expected repairs after which slices are still images of the series ({', '.join(REPAIRS)}), got "
                f"{wrong[0]}; leave it out"
            )

    def deidentifier(self) -> Deidentifier | None:
        """With the key of the environment, which is asked anew: no settings hold it.

        Raises:
            UsageError: see :meth:`medkit.dicom.confidentiality.Deidentifier.of_environment`.
        """
        return None if self.deidentify is None else Deidentifier.of_environment(self.deidentify)


@dataclass(frozen=True, eq=False)
class MakingContext:
    """What the making of studies needs; may be used by several threads.

    Args:
        ledger: of the worker that claims.
        spool: where instances are, and what an archive said of their number.
        rules: which bundle a study goes to.
        shelf: of bundles.
        results: folder of all results.
        destinations: names of those to which every result goes.
        outputs: what is written.
        limits: of sizes of files, asked before anything is decoded.

    Raises:
        UsageError: no destination.
    """

    ledger: Ledger
    spool: Spool
    rules: Sequence[Rule]
    shelf: BundleShelf
    results: Path
    destinations: Sequence[str]
    outputs: Outputs = field(default_factory=Outputs)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.destinations:
            raise UsageError("expected a destination for results, got none; name one")

    def check(self) -> list[KnownBundle]:
        """Load each bundle that a rule names, so that what is wrong with it is told before a study meets it.

        Returns:
            These bundles.

        Raises:
            UsageError: a bundle cannot be used, or a rule's inputs are not those of its bundle.
        """
        found: dict[KnownBundle, None] = {}
        for rule in self.rules:
            shelved = self.shelf.take(rule.bundle)
            shelved.order(rule.inputs)
            found[KnownBundle.of(shelved.maker)] = None
        return list(found)
