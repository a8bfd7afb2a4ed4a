"""What a user may ask for where a kind is given on request only, for kinds that do not say so themselves."""

from __future__ import annotations

_BROKEN = ("drop-broken", "split-gaps")
_STRAY = ("drop-stray", "split-gaps")

ON_REQUEST: dict[str, tuple[str, ...]] = {
    "b-values-gap": ("split-gaps",),
    "claims-too-much": _BROKEN,
    "end-missing-counted": ("accept-count",),
    "enhanced-spacing-mixed": _STRAY,
    "frame-of-reference-halves": ("split-frames",),
    "frame-of-reference-mixed": ("split-frames", "split-gaps"),
    "jpeg-2000-cut": _BROKEN,
    "jpeg-lossless-cut": _BROKEN,
    "jpeg-ls-cut": _BROKEN,
    "junk-magic": ("drop-broken",),
    "junk-zero": ("drop-broken",),
    "no-rows": _BROKEN,
    "one-slice-fewer-rows": _STRAY,
    "one-slice-other-spacing": _STRAY,
    "one-slice-turned": _STRAY,
    "picture-other-size": _BROKEN,
    "pixels-absent-on-one": _BROKEN,
    "position-absent-on-one": _BROKEN,
    "rle-bomb": _BROKEN,
    "rle-cut": _BROKEN,
    "truncated-header": _BROKEN,
    "truncated-header-last": ("drop-broken",),
    "truncated-pixels": _BROKEN,
    "two-slabs": ("split-gaps",),
    "zero-bytes": _BROKEN,
    "zero-bytes-last": ("drop-broken",),
    "zeroed": _BROKEN,
    "zeroed-last": ("drop-broken",),
}
