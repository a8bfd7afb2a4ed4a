"""Names of medkit in the running text of all pages are those that there are: of Python, of options and of settings."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import click
import pytest

from medkit.cli import cli
from tests.test_readme import PAGES, ROOT, spans

# Of a network that a reader may write.
EXAMPLE = "medkit.networks.dilated.DilatedNet"
GUIDES = [page for page in PAGES if page == "README.md" or page.startswith("docs/")]


@cache
def classes() -> dict[str, set[str]]:
    """What each class of medkit has, with what it takes from others of medkit; a name may stand for several."""
    members: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for path in (ROOT / "medkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                members.setdefault(node.name, set()).update(own(node))
                bases.setdefault(node.name, set()).update(ast.unparse(base) for base in node.bases)
    for name in members:
        for base in bases[name] & members.keys():
            members[name] |= members[base]
    return members


def own(node: ast.ClassDef) -> Iterator[str]:
    for inner in ast.walk(node):
        match inner:
            case ast.FunctionDef():
                yield inner.name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield name
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                yield name


def has(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from options(command.get_command(context, name))


def keys(schema: dict, node: dict, path: str = "") -> Iterator[str]:
    """Those of the settings of a service as pages write them: ``sources.nodes[].port``, ``archives.dimse.NAME``."""
    node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    yield path
    for key, value in node.get("properties", {}).items():
        yield from keys(schema, value, f"{path}.{key}".lstrip("."))
    if isinstance(named := node.get("additionalProperties"), dict):
        yield from keys(schema, named, f"{path}.NAME")
    if isinstance(one := node.get("items"), dict):
        yield from keys(schema, one, f"{path}[]")


@pytest.mark.parametrize("page", PAGES)
def test_names_of_python_are_there(page):
    known = classes()
    assert {"verify", "append", "folder"} <= known["AuditLog"]
    for code in spans(page):
        for name in re.findall(r"(?<![\w./-])medkit(?:\.\w+)+", code):
            assert has(name) or name == EXAMPLE, f"{page}: no {name}"
        for name, member in re.findall(r"(?<![\w.])([A-Z]\w+)(?:\([^)]*\))?\.([a-z]\w*)", code):
            assert member in known.get(name, {member}), f"{page}: {name} has no {member}"


@pytest.mark.parametrize("page", GUIDES)
def test_options_are_those_of_a_command(page):
    known = {*options(cli), "--help", "--version"}
    assert "--shadow" in known
    strange = [code for code in spans(page) if re.match("--[a-z]", code) and code.split()[0] not in known]
    assert strange == []  # of another program's: write the program before it


@pytest.mark.parametrize("page", [*GUIDES, "docker/README.md", "CHANGELOG.md"])
def test_keys_are_those_of_the_settings(page):
    schema = json.loads((files("medkit") / "schemas" / "service.schema.json").read_text(encoding="utf-8"))
    known = set(keys(schema, schema))
    assert {"limits.memory_gib", "sources.nodes[].ae_title", "archives.dimse.NAME.move.port"} <= known
    first = "|".join(schema["properties"])
    like = re.compile(rf"({first})(\[\])?(\.(?!yaml$)\w+(\[\])?)+")
    shown = {code for code in spans(page) if like.fullmatch(code)}
    assert shown <= known, f"{page}: {shown - known}"
    if page == "docs/batch.md":
        assert len(shown) > 10
