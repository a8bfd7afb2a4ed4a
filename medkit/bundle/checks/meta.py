"""The metadata: schema, change log, and the packages that they ask for."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from medkit.bundle.instance import one_line
from medkit.bundle.versions import check_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.bundle.checks.finding import Note
    from medkit.bundle.checks.subject import Subject

__all__ = ["changelog", "packages", "schema"]

_FILE = "configs/metadata.json"


@cache
def _validator() -> Draft202012Validator:
    content: dict[str, Any] = json.loads(
        files("medkit.bundle").joinpath("meta_schema.json").read_text("utf-8")
    )
    return Draft202012Validator(content)


def schema(subject: Subject) -> Iterator[str | Note]:
    """The metadata have the keys and types of MONAI's schema ``meta_schema_20240725``."""
    errors = _validator().iter_errors(subject.folder.metadata)
    for error in sorted(errors, key=lambda e: [str(step) for step in e.absolute_path]):
        place = "::".join(str(step) for step in error.absolute_path)
        yield f"{_FILE}: {place or 'top level'}: {one_line(ValueError(error.message), 200)}"


def changelog(subject: Subject) -> Iterator[str | Note]:
    """The change log knows the version; the model zoo asks for both."""
    metadata = subject.folder.metadata
    version, log = metadata.get("version"), metadata.get("changelog")
    if not isinstance(log, dict):
        got = "none" if log is None else type(log).__name__
        yield f"{_FILE}: expected an object 'changelog' of versions and changes, got {got}"
    elif str(version) not in log:
        yield f"{_FILE}: version {version} is not in 'changelog'; say there what it changes"


def packages(subject: Subject) -> Iterator[str | Note]:
    """The declared packages are installed, in the declared version or a later one."""
    check_versions(subject.folder.metadata, _FILE)
    yield from ()
