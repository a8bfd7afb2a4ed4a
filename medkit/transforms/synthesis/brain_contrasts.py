"""What the usual contrasts of MRI make of the tissues of a head, from 0, no signal, to 1.

For the brain, fluid, muscle and fat by the spin-echo equation ``PD (1 - exp(-TR / T1)) exp(-TE / T2)``, with an
inversion pulse ``PD |1 - 2 exp(-TI / T1) + exp(-TR / T1)| exp(-TE / T2)`` (Bernstein et al., Handbook of MRI Pulse
Sequences, 2004, chapter 14). White and grey matter have the times of relaxation at 3 T that Wansapura et al. measured
(1999, https://doi.org/10.1002/(SICI)1522-2586(199904)9:4%3C531::AID-JMRI4%3E3.0.CO;2-L), nearly; all else was chosen by
hand, by how bright it looks beside them in scans of each contrast. Rough numbers serve: a generator draws around them.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

__all__ = ["brain_contrasts"]


class _Tissue(NamedTuple):
    """Density of protons, of that of water, and times of relaxation in milliseconds."""

    density: float
    t1: float
    t2: float


class _Sequence(NamedTuple):
    """Times in milliseconds; no inversion pulse without a time of inversion."""

    repetition: float
    echo: float
    inversion: float | None = None


_FLUID = _Tissue(1.0, 4000, 1500)
_TISSUES = {
    "white matter": _Tissue(0.70, 830, 78),
    "cortex": _Tissue(0.82, 1330, 100),
    "ventricle": _FLUID,
    "cerebellum white matter": _Tissue(0.71, 850, 78),
    "cerebellum cortex": _Tissue(0.82, 1300, 98),
    "thalamus": _Tissue(0.77, 1100, 85),
    "caudate": _Tissue(0.81, 1280, 92),
    "putamen": _Tissue(0.80, 1220, 85),
    "pallidum": _Tissue(0.74, 980, 65),
    "hippocampus": _Tissue(0.82, 1350, 105),
    "amygdala": _Tissue(0.82, 1350, 105),
    "white matter lesion": _Tissue(0.85, 1400, 150),
    "accumbens area": _Tissue(0.81, 1290, 95),
    "ventral DC": _Tissue(0.73, 950, 78),
    "perforating vessel": _Tissue(1.0, 3500, 900),
    "choroid plexus": _Tissue(0.90, 2000, 200),
    "air": _Tissue(0.0, 1000, 50),
    "brain-stem": _Tissue(0.72, 900, 80),
    "cerebrospinal fluid": _FLUID,
    "optic chiasm": _Tissue(0.74, 950, 85),
    "artery": _Tissue(0.30, 1900, 60),  # much of its blood leaves the slice before the echo
    "eye": _FLUID,
    "other tissue": _Tissue(0.75, 900, 45),  # muscle and fat
    "eye muscle": _Tissue(0.78, 1400, 40),
    "mucosa": _Tissue(0.85, 1500, 75),
    "skin": _Tissue(0.75, 480, 65),  # and the fat below
    "spinal cord": _Tissue(0.72, 950, 78),
    "vein": _Tissue(0.60, 1850, 50),
    "cortical bone": _Tissue(0.10, 400, 8),
    "cancellous bone": _Tissue(0.55, 550, 50),  # of fatty marrow
    "optic nerve": _Tissue(0.72, 1000, 78),
}
_SEQUENCES = {
    "T1, inversion recovery": _Sequence(2300, 3, 900),
    "T1, spin echo": _Sequence(550, 12),
    "T2": _Sequence(5000, 100),
    "FLAIR": _Sequence(9000, 110, 2500),
    "proton density": _Sequence(3000, 20),
}


def brain_contrasts() -> dict[str, dict[str, float]]:
    """Mean intensities by contrast and tissue of :func:`~medkit.transforms.synthesis.brain_labels.brain_scheme`.

    The brightest tissue of each contrast has 1.

    >>> t1 = brain_contrasts()["T1, inversion recovery"]
    >>> t1["white matter"] > t1["cortex"] > t1["ventricle"]
    True
    """
    found = {}
    for name, sequence in _SEQUENCES.items():
        signals = {tissue: _signal(constants, sequence) for tissue, constants in _TISSUES.items()}
        brightest = max(signals.values())
        found[name] = {tissue: signal / brightest for tissue, signal in signals.items()}
    return found


def _signal(tissue: _Tissue, sequence: _Sequence) -> float:
    recovered = 1 - exp(-sequence.repetition / tissue.t1)
    if sequence.inversion is not None:
        recovered = 1 - 2 * exp(-sequence.inversion / tissue.t1) + exp(-sequence.repetition / tissue.t1)
    return tissue.density * abs(recovered) * exp(-sequence.echo / tissue.t2)
