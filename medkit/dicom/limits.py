"""How large files may be, asked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]

_MIB = 2**20
_RLE, _RLE_GROWTH = "1.2.840.10008.1.2.5", 64  # two bytes stand for 128 at most (PS3.5, annex G)


@dataclass(frozen=True)
class Limits:
    """Bounds that a hostile file would break, and no scanner's.

    Args:
        header_bytes: of a file before its pixels, where it must be inflated or held.
        frame_pixels: rows times columns.
        series_bytes: of the decoded pixels of one series.
        held_bytes: of all volumes that one reading gives together.
        volumes: of one series; each is compared with each.
        directions: of the slices of one volume's settings.
        members: of a zip.
        zip_bytes: of a zip's members together, unpacked.
        growth: by how much compressed pixels, a zip's member or a zip may grow, where they are more than
            ``growth_free_bytes``.
        growth_free_bytes: see there.
    """

    header_bytes: int = 64 * _MIB
    frame_pixels: int = 128 * _MIB
    series_bytes: int = 16 * 1024 * _MIB
    held_bytes: int = 32 * 1024 * _MIB
    volumes: int = 500
    directions: int = 100
    members: int = 200_000
    zip_bytes: int = 256 * 1024 * _MIB
    growth: int = 200
    growth_free_bytes: int = 64 * _MIB

    def excess(self, rows: int, columns: int, pixel_bytes: int, size: int, transfer_syntax: str) -> str:
        """What is expected of frames, and of pixels that a file can hold, and what is got; empty where all is well.

        Args:
            rows: of a frame.
            columns: of a frame.
            pixel_bytes: of all frames, decoded.
            size: see :meth:`pixel_bytes`.
            transfer_syntax: see there.
        """
        if rows * columns > self.frame_pixels:
            return f"at most {self.frame_pixels} pixels a frame, got {rows} x {columns}"
        most = self.pixel_bytes(size, transfer_syntax)
        if pixel_bytes > most:
            return f"at most {most} bytes of pixels in a file of {size} bytes, got {pixel_bytes}"
        return ""

    def pixel_bytes(self, size: int, transfer_syntax: str) -> int:
        """What the pixels of a file may have decoded, all frames together.

        Args:
            size: of the file, in bytes.
            transfer_syntax: UID of its encoding.
        """
        growth, free = self.growth, self.growth_free_bytes
        if transfer_syntax == _RLE:
            growth, free = _RLE_GROWTH, 0
        return min(max(size * growth, free), self.series_bytes)
