"""UIDs that follow from what an object is made of, so that a repeat is the same object.

An archive that has an object answers another one of its UID with success and keeps the old one. So the UID of a series
stands for source, maker and kind, and that of an instance for its content as well.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["ResultUids", "derived_uid"]


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (DICOM PS3.5, B.2) from the SHA-256 of texts: the same for the same ones."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"


@dataclass(frozen=True)
class ResultUids:
    """The UIDs of one result.

    Args:
        source: the images that it is about.
        maker: what made it.
        kind: of object, such as ``segmentation-binary``.
        content: hash of what it says, or anything that stands for it.
    """

    source: Source
    maker: Maker
    kind: str
    content: str

    @property
    def series(self) -> str:
        """UID of its series."""
        return derived_uid("series", self.kind, self.source.identity, self.maker.identity)

    @property
    def instance(self) -> str:
        """UID of the object, where it is one."""
        return self.inside("instance")

    def inside(self, *names: str) -> str:
        """UID of something in it, by its names: one of several instances, a dimension, a tracked structure."""
        return derived_uid(self.kind, self.source.identity, self.maker.identity, self.content, *names)
