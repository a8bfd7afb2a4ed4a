"""What made a result: a bundle in one state, with its labels and their codes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medkit import __version__
from medkit.data.label_codes import LabelCodes, label_codes
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MANUFACTURER", "Maker"]

MANUFACTURER = "medkit"
_LONG_STRING = 64  # characters of a DICOM LO


@dataclass(frozen=True)
class Maker:
    """What made a result.

    Args:
        bundle: its name.
        version: its version.
        digest: SHA-256 of its configs and weights (see :meth:`medkit.bundle.store.BundleFolder.digest`), 64 digits.
        label_names: label value, or channel of masks, to name; background left out.
        codes: of the labels; a label without is not written.
        settings: what else decides the result: changed config keys, mirror images, other weights; plain JSON values.
    """

    bundle: str
    version: str
    digest: str
    label_names: Mapping[int, str]
    codes: Mapping[int, LabelCodes]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_metadata(
        cls, bundle: str, metadata: Mapping[str, Any], digest: str, settings: Mapping[str, Any] | None = None
    ) -> Maker:
        """A bundle's name, metadata and digest as the maker of its results.

        Raises:
            UsageError: the metadata name no labels, or their ``segment_codes`` are malformed.
        """
        where = f"{bundle}/configs/metadata.json"
        try:
            declared = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
            names = {int(value): str(name) for value, name in declared.items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(
                f"{where}: expected the names of the labels in network_data_format::outputs::pred::channel_def, got "
                "none; add them"
            ) from error
        codes = metadata.get("segment_codes")
        return cls(
            bundle=bundle,
            version=str(metadata.get("version", "unknown")),
            digest=digest,
            label_names={
                value: name for value, name in names.items() if name.strip().lower() != "background"
            },
            codes={} if codes is None else label_codes(codes, f"{where}: segment_codes"),
            settings=dict(settings or {}),
        )

    @property
    def identity(self) -> str:
        """What tells this maker from others, in one text: medkit's version is part of it."""
        known = {
            "medkit": __version__,
            "bundle": self.bundle,
            "digest": self.digest,
            "settings": self.settings,
        }
        return json.dumps(known, sort_keys=True)

    @property
    def algorithm(self) -> str:
        """Name of the algorithm."""
        return self.bundle[:_LONG_STRING]

    @property
    def settings_text(self) -> str:
        """The settings in one line."""
        return json.dumps(self.settings, sort_keys=True)

    def equipment(self) -> dict[str, Any]:
        """Attributes of the (Enhanced) General Equipment module, as highdicom's constructors take them.

        The serial number is the bundle's digest: another network is another device.
        """
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.algorithm,
            "software_versions": [f"medkit {__version__}", f"bundle {self.version}"[:_LONG_STRING]],
            "device_serial_number": self.digest[:_LONG_STRING],
        }

    def check_codes(self) -> None:
        """Check that each label has its codes, without which results cannot be written.

        Raises:
            UsageError: one has none.
        """
        for label in self.label_names:
            self.codes_of(label)

    def codes_of(self, label: int) -> LabelCodes:
        """The codes of a label.

        Raises:
            UsageError: it has none.
        """
        if label not in self.codes:
            raise UsageError(
                f"{self.bundle}: expected codes for label {label} ({self.label_names.get(label, 'without a name')}), "
                "got none, and no other code may stand for it; add it to 'segment_codes' in the bundle's metadata"
            )
        return self.codes[label]
