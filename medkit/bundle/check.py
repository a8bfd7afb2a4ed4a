"""Vet a bundle: all that the MONAI model zoo's own script looks at, and what it lets through."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medkit.bundle.checks.builds import inference_config, train_config
from medkit.bundle.checks.codes import segment_codes
from medkit.bundle.checks.files import built_text, json_only, licence, required_files
from medkit.bundle.checks.finding import Finding, Note
from medkit.bundle.checks.keys import client_keys, properties
from medkit.bundle.checks.language import expressions, references, targets
from medkit.bundle.checks.meta import changelog, packages, schema
from medkit.bundle.checks.network import labels, network_runs
from medkit.bundle.checks.subject import Subject
from medkit.bundle.checks.weights import torchscript, weights
from medkit.bundle.instance import one_line, root_cause
from medkit.bundle.randomness import kept_random_state
from medkit.errors import MedkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from medkit.bundle.store import BundleFolder

__all__ = ["Finding", "check_bundle"]

_CHECKS: dict[str, Callable[[Subject], Iterator[str | Note]]] = {
    "files": required_files,
    "JSON configs": json_only,
    "licence": licence,
    "text as built": built_text,
    "metadata schema": schema,
    "change log": changelog,
    "package versions": packages,
    "targets": targets,
    "references": references,
    "expressions": expressions,
    "MONAI properties": properties,
    "client keys": client_keys,
    "inference config": inference_config,
    "train config": train_config,
    "network": network_runs,
    "labels": labels,
    "segment codes": segment_codes,
    "weights": weights,
    "TorchScript": torchscript,
}
_LONGEST = 500


def check_bundle(folder: BundleFolder) -> list[Finding]:
    """Check a bundle, its files, its configs as text and as built, its network and its weights.

    Configs are code, and this runs it: check only what you trust. Nothing is raised for a broken bundle; what
    a check raises becomes its problem.

    Args:
        folder: the bundle.

    Returns:
        One finding a problem, and one for each check that found none, in the order of the checks.
    """
    with TemporaryDirectory() as scratch, _quiet():
        subject = Subject(folder, Path(scratch))
        return [finding for name in _CHECKS for finding in _run(name, subject)]


def _run(name: str, subject: Subject) -> list[Finding]:
    said: list[str | Note] = []
    try:
        said.extend(_CHECKS[name](subject))
    except (Exception, SystemExit) as error:
        said.append(_told(error))
    problems = dict.fromkeys(_relative(line, subject) for line in said if isinstance(line, str))
    if problems:
        return [Finding(name, problem) for problem in problems]
    notes = [line.text for line in said if isinstance(line, Note)]
    return [Finding(": ".join([name, *notes]))]


def _told(error: BaseException) -> str:
    """What a check could not do, in one line."""
    cause = root_cause(error)
    if isinstance(cause, MedkitError):
        return str(cause)
    return f"cannot be checked: {type(cause).__name__}: {one_line(cause)}"


def _relative(line: str, subject: Subject) -> str:
    """A problem in one line that can be read, with paths as seen from the bundle's root."""
    root = str(subject.folder.root)
    text = " ".join(line.replace(f"{root}/", "").replace(root, subject.folder.name).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' remarks out of the findings, and the caller's random numbers as they are."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), kept_random_state():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
