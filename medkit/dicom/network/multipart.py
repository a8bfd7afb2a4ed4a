"""Parts of an answer as they come over the wire, one in memory at a time (RFC 2046, 5.1; DICOM PS3.18, 8.6.1.2).

dicomweb-client takes whatever an answer ends with for its last part, whole or not, and gives parsed data sets alone.
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BrokenAnswer", "PartTooLong", "parts"]

_LONGEST_HEAD = 1 << 16  # of the headers of one part


class BrokenAnswer(ValueError):
    """An answer that is not multipart, or ends before its end."""


class PartTooLong(BrokenAnswer):
    """A part that is longer than it may be."""


def parts(content_type: str, chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The content of each part, without its headers.

    Args:
        content_type: of the answer, with the boundary.
        chunks: the answer's body in pieces of any size.
        most: bytes of a part, or of what comes before the first.

    Raises:
        BrokenAnswer: while iterating, where the answer is not multipart or its end is missing.
        PartTooLong: the same, where a part is longer than it may be, or its headers are.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_maintype() != "multipart" or not boundary:
        raise BrokenAnswer(f"expected a multipart answer, got {header.get_content_type()}")
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    body = _Body(chunks)
    body.give_back(b"\r\n")  # before the first delimiter there may be nothing
    body.until(delimiter, most)
    while (behind := body.take(2)) != b"--":
        body.give_back(behind)  # the line's end, which ends the headers as well where there are none
        body.until(b"\r\n\r\n", _LONGEST_HEAD)
        body.give_back(b"\r\n")  # likewise, of an empty part
        yield bytes(body.until(delimiter, most + len(b"\r\n"))[2:])


class _Body:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray()

    def give_back(self, data: bytes) -> None:
        self._held[:0] = data

    def take(self, count: int) -> bytes:
        while len(self._held) < count:
            self._more()
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def until(self, mark: bytes, most: int) -> bytearray:
        """What comes before a mark, of so many bytes at most; the mark is passed."""
        start = 0
        while (place := self._held.find(mark, start)) < 0 and start <= most:
            start = max(0, len(self._held) - len(mark) + 1)
            self._more()
        if place < 0 or place > most:
            raise PartTooLong("expected a part, or headers, of a bounded length, got a longer one")
        found = self._held[:place]
        del self._held[: place + len(mark)]
        return found

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise BrokenAnswer("expected the end of a multipart answer, got an answer that breaks off")
        self._held += chunk
