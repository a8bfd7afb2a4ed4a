"""Names without a patient in them: hashes of UIDs, and of what a study held.

A study is known by the hash of its Study Instance UID, a revision of it by the hash of its instances. A UID may be
traced back to a patient by whoever has the archive; its SHA-256 cannot be read, but compared by whoever knows the UID.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["hash_revision", "hash_uid", "is_hash"]

_HASH = re.compile(r"[0-9a-f]{64}")


def hash_uid(uid: str) -> str:
    """SHA-256 of a UID as 64 hexadecimal digits, the padding that DICOM allows around it left out.

    >>> hash_uid("1.2.840.1") == hash_uid("1.2.840.1" + chr(0))
    True

    Raises:
        ValueError: nothing is left to hash, and all such studies would be one.
    """
    bare = uid.strip(" \0")
    if not bare:
        raise ValueError("expected a UID, got an empty one")
    return hashlib.sha256(bare.encode()).hexdigest()


def hash_revision(instances: Iterable[str]) -> str:
    """SHA-256 over the hashes of a study's instances, whatever their order.

    >>> hash_revision(["a" * 64, "b" * 64]) == hash_revision(["b" * 64, "a" * 64])
    True

    Raises:
        ValueError: one of them is no SHA-256.
    """
    hashes = sorted(set(instances))
    if wrong := [one for one in hashes if not is_hash(one)]:
        raise ValueError(f"expected SHA-256 hashes of instances, got {wrong[0]!r}")
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def is_hash(text: str) -> bool:
    """Whether a text is a SHA-256 in small hexadecimal digits."""
    return _HASH.fullmatch(text) is not None
