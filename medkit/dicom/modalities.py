"""Modalities as DICOM writes them (PS3.3, C.7.3.1.1.1), and what people write in their place."""

from __future__ import annotations

import re
from functools import cache

from pydicom.sr.codedict import codes

__all__ = ["modality_fault"]

_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")  # PS3.5, table 6.2-1
_MISTAKES = {
    "CAT": "CT",
    "CTA": "CT",
    "ECHO": "US",
    "MRA": "MR",
    "MRI": "MR",
    "MRT": "MR",
    "NMR": "MR",
    "PET": "PT",
    "SPECT": "NM",
    "XRAY": "DX",
}


def modality_fault(value: str) -> str | None:
    """What is wrong with a modality that series are looked for by; ``None`` where some may have it.

    DICOM's terms may be extended, so an unknown word may be right: wrong is what is no code string, or what people are
    known to write for one of DICOM's. Small letters count as capitals.
    """
    word = value.strip().upper()
    terms = _terms()
    if word in terms.values():
        return None
    meant = _MISTAKES.get(word) or terms.get(word)
    if meant is None and _CODE_STRING.fullmatch(word):
        return None
    hint = f"did you mean '{meant}'?" if meant else "it has at most 16 letters, digits, spaces and '_'"
    return f"expected a modality as DICOM writes it, such as CT, MR or PT, got '{value}'; {hint}"


@cache
def _terms() -> dict[str, str]:
    """Meaning in capitals to term, of all that there are (PS3.16, CID 33)."""
    return {code.meaning.upper(): code.value for code in codes.cid33.concepts.values()}
