"""What the values of a label map mean to a generator: sides, kinds of tissue, and which of them a network learns."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["REGIONS", "LabelScheme", "Structure", "looked_up"]

REGIONS = ("brain", "fluid", "outside")  # fluid: around the brain, which a brain mask may have or not
_ORDERED = (
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)  # those that PyTorch finds extremes of


@dataclass(frozen=True)
class Structure:
    """One value of a label map.

    Args:
        value: in the map, 0 or more.
        name: in the field's terms.
        tissue: structures of one tissue have one distribution of intensities.
        region: one of :data:`REGIONS`.
        target: what becomes of the value in the labels that a network learns.
        opposite: the value of the same structure on the other side; its own on the midline.
    """

    value: int
    name: str
    tissue: str
    region: str
    target: int
    opposite: int


def looked_up(table: Tensor, labels: Tensor) -> Tensor:
    """What a table ``(V,)`` has for each label; several times as fast on a CPU as indexing it."""
    return table.index_select(0, labels.to(torch.int32).flatten()).view(labels.shape)


class LabelScheme:
    """All values that a label map may hold.

    Args:
        structures: one a value; 0, the background, among them.

    Raises:
        UsageError: a value twice or below 0, no background, an unknown region, or an opposite that is not mutual, of
            other tissue or of another region.
    """

    def __init__(self, structures: Iterable[Structure]) -> None:
        self.structures: Sequence[Structure] = tuple(structures)
        self._by_value = {structure.value: structure for structure in self.structures}
        self._check()
        self.tissues: Sequence[str] = tuple(dict.fromkeys(item.tissue for item in self.structures))
        self._on: dict[tuple[str, str], Tensor] = {}

    @property
    def background_tissue(self) -> int:
        """Number, among :attr:`tissues`, of what value 0 is made of."""
        return self.tissues.index(self._by_value[0].tissue)

    @property
    def values(self) -> tuple[int, ...]:
        """What a map may hold, ascending."""
        return tuple(sorted(self._by_value))

    @property
    def targets(self) -> tuple[int, ...]:
        """What a network learns, ascending."""
        return tuple(sorted({item.target for item in self.structures}))

    def values_of(self, tissues: Iterable[str]) -> tuple[int, ...]:
        """The values made of some tissues.

        Raises:
            UsageError: a tissue that the scheme lacks.
        """
        wanted = set(tissues)
        if unknown := wanted - set(self.tissues):
            raise UsageError(
                f"expected tissues of {list(self.tissues)}, got {sorted(unknown)}; correct their names"
            )
        return tuple(item.value for item in self.structures if item.tissue in wanted)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that it says, by which a record is known to be of the same scheme."""
        told = json.dumps([astuple(item) for item in self.structures])
        return hashlib.sha256(told.encode()).hexdigest()

    def tissue_mask(self, labels: Tensor, tissues: Iterable[str]) -> Tensor:
        """Where labels are of some tissues.

        Raises:
            UsageError: a tissue that the scheme lacks.
        """
        inside = torch.zeros(self.values[-1] + 1, dtype=torch.bool)
        inside[list(self.values_of(tissues))] = True
        return looked_up(inside.to(labels.device), labels)

    def tissue_table(self, device: torch.device) -> Tensor:
        """``(V,)``, int32: the number of the tissue by value; -1 for values that the scheme lacks."""
        return self._table("tissue", device)

    def opposite_table(self, device: torch.device) -> Tensor:
        """``(V,)``, int32: the value on the other side by value."""
        return self._table("opposite", device)

    def target_table(self, device: torch.device) -> Tensor:
        """``(V,)``, int32: what a network learns by value."""
        return self._table("target", device)

    def mask(self, labels: Tensor, regions: Iterable[str]) -> Tensor:
        """Where labels are of some of the :data:`REGIONS`."""
        wanted = torch.tensor([REGIONS.index(region) for region in regions], device=labels.device)
        return looked_up(torch.isin(self._table("region", labels.device), wanted), labels)

    def check(self, labels: Tensor) -> None:
        """Hold a label map against the scheme.

        Args:
            labels: integers of any shape.

        Raises:
            UsageError: there are values that the scheme lacks.
        """
        known = self.tissue_table(labels.device) >= 0
        ordered = labels if labels.dtype in _ORDERED else labels.to(torch.int64)
        least, most = (int(end) for end in torch.aminmax(ordered))
        within = least >= 0 and most < len(known)
        if not within or not bool(looked_up(known, labels).all()):
            found = torch.unique(ordered).tolist()
            strange = [value for value in found if value not in self._by_value]
            shown = ", ".join(str(value) for value in strange[:8]) + (", ..." if len(strange) > 8 else "")
            raise UsageError(
                f"labels: expected values of the scheme ({len(self.structures)} of them, {self.values[0]} to "
                f"{self.values[-1]}), got {shown}; add them to the scheme or set them to 0"
            )

    @cached_property
    def _tables(self) -> dict[str, Tensor]:
        tables = {
            name: torch.full((self.values[-1] + 1,), -1, dtype=torch.int32)
            for name in ("tissue", "opposite", "target", "region")
        }
        for item in self.structures:
            tables["tissue"][item.value] = self.tissues.index(item.tissue)
            tables["opposite"][item.value] = item.opposite
            tables["target"][item.value] = item.target
            tables["region"][item.value] = REGIONS.index(item.region)
        return tables

    def _table(self, name: str, device: torch.device) -> Tensor:
        key = (name, str(device))
        if key not in self._on:
            self._on[key] = self._tables[name].to(device)
        return self._on[key]

    def _check(self) -> None:
        twice = [
            value for value, count in Counter(item.value for item in self.structures).items() if count > 1
        ]
        if twice or 0 not in self._by_value or min(self._by_value) < 0:
            raise UsageError(
                f"label scheme: expected each value once, none below 0 and a background of value 0, got "
                f"{[item.value for item in self.structures]}; correct the values"
            )
        for item in self.structures:
            other = self._by_value.get(item.opposite)
            mutual = other is not None and other.opposite == item.value
            if not mutual or other is None or (other.tissue, other.region) != (item.tissue, item.region):
                raise UsageError(
                    f"label scheme: expected the opposite of {item.value} ({item.name}) to be a structure of the same "
                    f"tissue and region whose opposite is {item.value}, got {item.opposite}; correct it"
                )
            if item.region not in REGIONS:
                raise UsageError(
                    f"label scheme: expected a region of {list(REGIONS)} for {item.value} ({item.name}), got "
                    f"{item.region!r}; correct it"
                )
