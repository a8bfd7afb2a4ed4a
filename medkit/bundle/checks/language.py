"""Configs as text: every component can be called as written, every reference and name leads somewhere."""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
from functools import cache
from pydoc import locate
from types import ModuleType
from typing import TYPE_CHECKING, Any

import monai
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ReferenceResolver
from monai.utils import CompInitMode, optional_import

from medkit.bundle.checks.parts import walk
from medkit.bundle.instance import one_line, own_code, read_config_file, root_cause
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from medkit.bundle.checks.finding import Note
    from medkit.bundle.checks.subject import Subject

__all__ = ["expressions", "references", "targets"]

_REFERENCE = "_reference_"


def targets(subject: Subject) -> Iterator[str | Note]:
    """Every ``_target_`` in every config exists and takes the arguments that it is given."""
    locator = ComponentLocator()
    for where, config in _configs(subject):
        with own_code(subject.folder.root):
            for path, node in walk(config):
                if isinstance(node, dict) and "_target_" in node:
                    for problem in _component_problems(node, path, locator):
                        yield f"{where}: '{path}': {problem}"


def _configs(subject: Subject) -> Iterator[tuple[str, dict[str, Any]]]:
    paths = [path for path in subject.config_files() if path.stem != "metadata"]
    if not paths:
        raise UsageError("configs: expected at least inference.json, got no config at all")
    for path in paths:
        yield f"configs/{path.name}", read_config_file(path)


def _component_problems(node: dict[str, Any], path: str, locator: ComponentLocator) -> Iterator[str]:
    target, component = node["_target_"], ConfigComponent(node, path, locator)
    if not isinstance(target, str) or not target:
        yield f"_target_: expected the name of a class or function, got {target!r:.80}"
        return
    if target[0] in "$@%":  # known only once it is built
        return
    try:
        called = locate(component.resolve_module_name())
    except Exception as error:  # the module is there, and raises while it is imported
        yield f"_target_ '{target}' cannot be imported: {one_line(root_cause(error))}"
        return
    if not callable(called):
        yield f"_target_ '{target}' is not a class or function that can be found{_similar(target)}"
    elif (mode := node.get("_mode_", "default")) not in (CompInitMode.DEFAULT, CompInitMode.CALLABLE):
        yield f"_mode_: expected default or callable, got '{mode}'"
    elif problem := _misfit(called, component.resolve_args(), partial=mode == CompInitMode.CALLABLE):
        yield f"_target_ '{target}' {problem}"


def _misfit(called: Any, arguments: dict[str, Any], *, partial: bool) -> str | None:
    """Why a callable does not take these arguments, or ``None``."""
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # something built in, which does not tell
        return None
    try:
        (signature.bind_partial if partial else signature.bind)(**arguments)
    except TypeError as error:
        wrong = [name for name in arguments if name not in signature.parameters]
        return f"cannot be called so: {error}{_close(wrong[0], signature.parameters) if wrong else ''}"
    return None


def references(subject: Subject) -> Iterator[str | Note]:
    """Every ``@reference`` of a config that stands alone leads to a key."""
    for kind in subject.kinds:
        parser = ConfigParser(subject.config(kind))
        parser.read_meta(subject.folder.metadata)
        try:
            parser.resolve_macro_and_relative_ids()
        except Exception as error:
            reason = one_line(root_cause(error))
            yield f"{subject.where(kind)}: a %macro leads nowhere: {reason}; write the part out"
            continue
        keys = {path for path, _ in walk(parser.config) if path}
        for path, node in walk(parser.config):
            found = ReferenceResolver.match_refs_pattern(node) if isinstance(node, str) else {}
            for key in found:
                if key not in keys and not path.startswith(parser.meta_key):
                    yield f"{subject.where(kind)}: '{path}': '@{key}' leads nowhere{_close(key, keys)}"


def expressions(subject: Subject) -> Iterator[str | Note]:
    """Every ``$expression`` is Python that knows its names; without data some are never evaluated."""
    for where, config in _configs(subject):
        with own_code(subject.folder.root):
            texts = [(path, node) for path, node in walk(config) if isinstance(node, str) and node[:1] == "$"]
            parsed = [(path, node, _parse(node)) for path, node in texts]
            known: dict[str, Any] = {**vars(builtins), **ConfigParser().globals, _REFERENCE: None}
            for path, node, tree in parsed:
                if isinstance(tree, str):
                    yield f"{where}: '{path}': {node!r:.80} is not Python: {tree}"
                elif isinstance(tree, (ast.Import, ast.ImportFrom)):
                    for problem in _take_import(tree, known):
                        yield f"{where}: '{path}': {problem}"
            for path, _, tree in parsed:
                if isinstance(tree, ast.Expression):
                    for problem in _unknown_names(tree, known):
                        yield f"{where}: '{path}': {problem}"


def _parse(text: str) -> ast.Expression | ast.stmt | str:
    """An import statement, an expression, or why it is neither."""
    # MONAI reads `#` as `::` everywhere, and puts a name in the place of each reference.
    code = ReferenceResolver.id_matcher.sub(_REFERENCE, ReferenceResolver.normalize_id(text[1:]))
    try:
        statement = ast.parse(code).body[0]
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            return statement
        expression: ast.Expression = ast.parse(code, mode="eval")
    except (SyntaxError, IndexError) as error:
        return str(error.msg) if isinstance(error, SyntaxError) else "nothing follows the '$'"
    return expression


def _take_import(statement: ast.Import | ast.ImportFrom, known: dict[str, Any]) -> Iterator[str]:
    """Add what an import brings to ``known`` as MONAI does: under its alias, or the whole dotted name."""
    name = statement.names[0].name
    if isinstance(statement, ast.ImportFrom):
        module, found = optional_import(statement.module or "", name=name)
    else:
        module, found = optional_import(name)
    if not found:
        yield f"'{ast.unparse(statement)}' fails; install the package or correct the name"
    known[statement.names[0].asname or name] = module if found else None


def _unknown_names(tree: ast.Expression, known: dict[str, Any]) -> Iterator[str]:
    nodes = list(ast.walk(tree))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id not in bound | known.keys():
            yield f"the name '{node.id}' is unknown{_close(node.id, known)}; 'imports' brings names in"
        elif isinstance(node, ast.Attribute):
            module = _module(node.value, known)
            if module is not None and not hasattr(module, node.attr):
                yield f"'{ast.unparse(node)}' does not exist{_close(node.attr, dir(module))}"


def _module(node: ast.expr, known: dict[str, Any]) -> ModuleType | None:
    """The module that a dotted name stands for, or ``None`` if it stands for something else."""
    value = None
    if isinstance(node, ast.Name):
        value = known.get(node.id)
    elif isinstance(node, ast.Attribute):
        value = getattr(_module(node.value, known), node.attr, None)
    return value if isinstance(value, ModuleType) else None


def _similar(target: str) -> str:
    parent, _, name = target.rpartition(".")
    if not parent:
        return _close(target, _monai_names())
    module, found = optional_import(parent)
    if found:
        return _close(name, dir(module))
    return f"; is {parent.partition('.')[0]} installed, and '{parent}' spelt right?"


@cache
def _monai_names() -> frozenset[str]:
    places = ("data", "engines", "handlers", "inferers", "losses", "metrics", "networks.nets", "transforms")
    return frozenset(
        name for place in places for name in dir(optional_import(f"{monai.__name__}.{place}")[0])
    )


def _close(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
