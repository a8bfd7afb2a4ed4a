"""The register of kinds, and the one way to make a series of a kind."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.random import Generator

from tests.dicom_series.repairs import ON_REQUEST
from tests.dicom_series.truth import Truth

Build = Callable[[Path, Generator], Truth]

# Modules of kinds, by subject, in the order of the table.
SUBJECTS = (
    "geometry",
    "spacing",
    "mixtures",
    "neighbours",
    "diffusion",
    "pixels",
    "files",
    "syntaxes",
    "enhanced",
    "objects",
)
KINDS: dict[str, Kind] = {}
_loading: list[str] = []


@dataclass(frozen=True)
class Kind:
    """One kind of series.

    Attributes:
        name: unique, kebab case.
        group: the subject.
        about: one line for the table.
        build: writes the files into a folder and says what is right.
        repairs: what a user must ask for where the series cannot be given as it comes, or may ask for.
        picks: what a user must choose.
    """

    name: str
    group: str
    about: str
    build: Build
    repairs: tuple[str, ...] = ()
    picks: Mapping[str, str] = field(default_factory=dict)


def add(name: str, about: str, build: Build, repairs: tuple[str, ...] = ()) -> None:
    """Registers a kind; its group is the subject that is being loaded."""
    if name in KINDS:
        raise ValueError(f"two kinds are called {name}")
    KINDS[name] = Kind(name, _loading[-1], about, build, repairs)


def kind(about: str, repairs: tuple[str, ...] = ()) -> Callable[[Build], Build]:
    """Registers a function under its own name, with hyphens."""

    def register(build: Build) -> Build:
        add(build.__name__.replace("_", "-"), about, build, repairs)
        return build

    return register


def load_kinds() -> None:
    for subject in SUBJECTS:
        _loading.append(subject)
        import_module(f"tests.dicom_series.{subject}")
    for name, repairs in ON_REQUEST.items():
        if KINDS[name].repairs:
            raise ValueError(f"{name} says itself what may be asked for")
        KINDS[name] = replace(KINDS[name], repairs=repairs)


def make(kind: str, folder: Path, seed: int = 0) -> Truth:
    """Writes a series of a kind into a folder, and says what a right reader gives.

    Args:
        kind: a name in ``KINDS``.
        folder: made where it is missing; the same seed writes the same bytes.
        seed: changes numbers (origin, spacing, values, order of files), never the kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return KINDS[kind].build(folder, np.random.default_rng([seed, zlib.crc32(kind.encode())]))
