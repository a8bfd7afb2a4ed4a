"""What the checks say of a bundle that a test broke."""

from __future__ import annotations

from pathlib import Path

from medkit.bundle.check import Finding, check_bundle
from medkit.bundle.store import BundleFolder


def check(root: Path) -> list[Finding]:
    return check_bundle(BundleFolder(root))


def problems(root: Path) -> dict[str, list[str]]:
    """Check to problems; each is one line and has no path of this machine in it."""
    found: dict[str, list[str]] = {}
    for finding in check(root):
        if finding.problem is not None:
            assert "\n" not in finding.problem
            assert str(root) not in finding.problem
            found.setdefault(finding.check, []).append(finding.problem)
    return found


def expect(root: Path, name: str, *words: str, only: bool = True) -> None:
    """The check has a problem that holds all the words; with ``only``, no other check has one."""
    found = problems(root)
    assert any(all(word in line for word in words) for line in found.get(name, [])), found
    if only:
        assert list(found) == [name], found
