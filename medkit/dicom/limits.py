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

    def fits(self, rows: int, columns: int, pixel_bytes: int, size: int, transfer_syntax: str) -> bool:
        """Whether frames are small enough, and pixels such that a file can hold them.

        Args:
            rows: of a frame.
            columns: of a frame.
            pixel_bytes: of all frames, decoded.
            size: see :meth:`pixel_bytes`.
            transfer_syntax: see there.
        """
        small = rows * columns <= self.frame_pixels
        return small and pixel_bytes <= self.pixel_bytes(size, transfer_syntax)

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
