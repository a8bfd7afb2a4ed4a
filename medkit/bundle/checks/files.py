"""The files of a bundle: which are there, in which format, and whether they are what `configs/` builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medkit.bundle.build import bundle_text, sources_root
from medkit.bundle.checks.finding import Note
from medkit.bundle.checks.subject import CONFIG_SUFFIXES
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.bundle.checks.subject import Subject

__all__ = ["built_text", "json_only", "licence", "required_files"]

_LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "docs/license.txt", "docs/LICENSE")


def required_files(subject: Subject) -> Iterator[str | Note]:
    """Metadata, inference config, weights and model card are there, and not empty."""
    root = subject.folder.root
    for name in ("configs/metadata.json", "models/model.pt", "docs/README.md"):
        path = root / name
        if not path.is_file():
            yield f"{name}: missing; {_remedy(subject, name)}"
        elif path.stat().st_size == 0:
            yield f"{name}: empty; {_remedy(subject, name)}"
    if not any((subject.folder.configs / f"inference{suffix}").is_file() for suffix in CONFIG_SUFFIXES):
        yield f"configs/inference.json: missing; {_remedy(subject, 'configs/inference.json')}"


def _remedy(subject: Subject, name: str) -> str:
    root = subject.folder.root
    large = next((path.name for path in root.glob("large_files.*")), None)
    if name.startswith("models/") and large:
        return f"{large} says where it is: python -m monai.bundle download_large_files --bundle_path {root}"
    if name.startswith("models/"):
        return "train the bundle and adopt the run, or copy the weights there"
    return "build it with: medkit bundle build" if subject.own else "a MONAI bundle needs it"


def json_only(subject: Subject) -> Iterator[str | Note]:
    """Configs are JSON: ``monai.bundle.load()`` and MONAI Deploy read nothing else."""
    paths = subject.config_files()
    if not paths:
        yield "configs: expected inference.json and metadata.json, got no config at all"
    for path in paths:
        if path.suffix in CONFIG_SUFFIXES[1:]:
            yield (
                f"configs/{path.name}: expected JSON, got YAML, which monai.bundle.load() and MONAI Deploy "
                f"do not read; write it as {path.stem}.json"
            )


def licence(subject: Subject) -> Iterator[str | Note]:
    """The terms of use are stated."""
    found = [subject.folder.root / name for name in _LICENCES if (subject.folder.root / name).is_file()]
    if not any(path.read_text(encoding="utf-8", errors="replace").strip() for path in found):
        yield "LICENSE: missing or empty; say under which terms configs and weights may be used"


def built_text(subject: Subject) -> Iterator[str | Note]:
    """The text of medkit's own bundles is what ``configs/`` builds, byte for byte."""
    if not subject.own:
        yield Note("not one of medkit's own")
        return
    try:
        source = sources_root() / subject.folder.name
    except UsageError:
        yield Note("no sources here to compare with")
        return
    if not (source / "metadata.yaml").is_file():
        yield f"configs/{source.name}/metadata.yaml: no such source; bundles/ is built, never written by hand"
        return
    text = bundle_text(source)
    for name, content in text.items():
        path = subject.folder.root / name
        if not path.is_file() or path.read_bytes() != content.encode():
            yield f"{name}: not what configs/{source.name} gives; run: medkit bundle build {source.name}"
    for path in sorted(subject.folder.configs.rglob("*")):
        name = path.relative_to(subject.folder.root).as_posix()
        if path.is_file() and name not in text:
            yield f"{name}: not built from configs/{source.name}; delete it"
