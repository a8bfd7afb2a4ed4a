"""Whether a worker of the cluster gives what one of this machine would: the same medkit, packages and bundles.

Another version of a model on one of many workers would be a silent wrong number in some studies. So workers are asked
when they are first seen, and each asks itself again before each study.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from medkit.batch.cluster.machine import device_fault
from medkit.dicom.confidentiality import KEY_VARIABLE, fingerprint, key_of_environment
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    *(
        "WELL",
        "Question",
        "bundle_traits",
        "condition",
        "describe",
        "key_traits",
        "remove_seals",
        "seal",
        "traits",
    ),
    *("unlike", "wanted_here"),
]

_PACKAGE = Path(__file__).resolve().parents[2]
_SOURCES = (".py", ".json")
# What numbers, decoders and objects come from. Builds of one version for a CPU and for a GPU count as the same.
_OTHERS = (
    *("distributed", "highdicom", "monai", "nibabel", "numpy", "pydicom", "pyjpegls", "pylibjpeg"),
    *("pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "scipy", "torch"),
)
_SEAL = ".seen-"
_FOLDER = "folder of the batch"
_GPU = "a GPU"
WELL = {_GPU: "that answers"}
"""The :func:`condition` of a worker that is fit."""

Question = tuple[str, tuple[str, ...], dict[str, str]]
"""Name of the seal, the folders that have it, and where each bundle lies, in plain values."""


def traits() -> dict[str, str]:
    """Versions of all that decides a result, and a hash of medkit's own files, whatever version they claim to be."""
    import medkit

    return {"medkit": medkit.__version__, "medkit's files": _sources()} | {
        name: _version(name) for name in _OTHERS
    }


def key_traits() -> dict[str, str]:
    """By which the environment's key of de-identification can be compared; nothing where there is none."""
    key = key_of_environment()
    return {} if key is None else {f"a key in {KEY_VARIABLE} of fingerprint": fingerprint(key)}


@cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in _PACKAGE.rglob("*") if path.suffix in _SOURCES):
        inside = path.relative_to(_PACKAGE)
        if inside.parts[0] != "_bundles":  # they have digests of their own
            digest.update(inside.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "none"


def condition() -> dict[str, str]:
    """How the machine of this process is, apart from its folders."""
    return {_GPU: device_fault() or WELL[_GPU]}


def bundle_traits(bundles: Mapping[str, str]) -> dict[str, str]:
    """The digest of each bundle as it lies here, or why there is none.

    Args:
        bundles: name in the rules to name or folder.
    """
    from medkit.bundle.store import find_bundle

    found = {}
    for name, place in bundles.items():
        try:
            found[f"bundle {name}"] = find_bundle(place).digest()[:12]
        except (MedkitError, OSError) as error:
            found[f"bundle {name}"] = str(error)
    return found


def seal(folder: Path, name: str) -> Path:
    """Leave a file in a folder, by which a worker knows that it sees this very one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{_SEAL}{name}"
    try:
        path.write_text(name, encoding="ascii")
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def remove_seals(folder: Path) -> None:
    """Remove what questions left that were not answered when who asked, or a worker, was killed."""
    for left in folder.glob(f"{_SEAL}*"):
        with suppress(OSError):  # whoever asks will see it
            left.unlink()


async def describe(question: Question) -> dict[str, str]:
    """What a worker has and sees; runs there, beside its event loop."""
    return await asyncio.to_thread(_describe, *question)


def _describe(name: str, folders: tuple[str, ...], bundles: dict[str, str]) -> dict[str, str]:
    found = traits() | key_traits() | bundle_traits(bundles) | condition()
    for folder in folders:
        found[f"{_FOLDER} {folder}"] = _seen(Path(folder), name)
    return found


def _seen(folder: Path, name: str) -> str:
    """Whether the folder is that with the seal, and can be written."""
    try:
        if (folder / f"{_SEAL}{name}").read_text(encoding="ascii") != name:
            return "another"
        own = folder / f"{_SEAL}{name}-{uuid4().hex}"
        own.touch(exist_ok=False)
        own.unlink()
    except OSError as error:
        return error.strerror or type(error).__name__
    return "seen"


def unlike(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """In what a worker is another than it has to be, in one line; empty where it is fit."""
    wrong = [
        f"expected {what} {value}, got {found.get(what, 'none')}"
        for what, value in wanted.items()
        if found.get(what) != value
    ]
    return "; ".join(wrong)


def wanted_here(question: Question) -> dict[str, str]:
    """What a worker has to answer: what this machine has, and that it sees each folder."""
    _, folders, bundles = question
    return traits() | bundle_traits(bundles) | WELL | {f"{_FOLDER} {folder}": "seen" for folder in folders}
