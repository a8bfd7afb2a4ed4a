"""The page of troubles knows every code that medkit raises, no other, and quotes messages as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import find_bundle
from medkit.cli.bundle import build_command
from medkit.data import Case, find_cases, read_volume
from medkit.errors import CaseError, ExitCode, MedkitError
from medkit.inference.run import leave_out_results
from medkit.networks import create

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
SAYS = ("TrainingError", "UsageError", "warnings.warn")
# What the command line puts before a message.
PREFIX = re.compile(r"(failed( \(\w+\))?|medkit:) ")
# Letters that a message must have of its own to be told from others.
OWN_LETTERS = 10


def modules() -> list[ast.Module]:
    found = [
        ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in (ROOT / "medkit").rglob("*.py")
    ]
    assert found, "no module found: this test has lost its subject"
    return found


def calls(tree: ast.AST, *names: str) -> Iterator[tuple[ast.Call, ast.FunctionDef | None]]:
    """Calls of functions so named, with the function that holds each."""
    pending: list[tuple[ast.AST, ast.FunctionDef | None]] = [(tree, None)]
    while pending:
        node, inside = pending.pop()
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(names):
            yield node, inside
        inside = node if isinstance(node, ast.FunctionDef) else inside
        pending += ((child, inside) for child in ast.iter_child_nodes(node))


def case_errors(trees: list[ast.Module]) -> dict[str, list[re.Pattern[str]]]:
    """Every code that a ``CaseError`` is raised with, and the messages that go with it."""
    found: dict[str, list[re.Pattern[str]]] = {}
    for tree in trees:
        for call, inside in calls(tree, "CaseError"):
            for code in codes(call.args[0], inside, tree):
                found.setdefault(code, []).append(template(call.args[1]))
    return found


def codes(node: ast.expr, inside: ast.FunctionDef | None, tree: ast.Module) -> set[str]:
    """The values of a code: written out, or put together from a word that the function is called with."""
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.Attribute) and node.attr == "code":
        return set()  # of an error that is handed on
    names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    assert isinstance(node, ast.JoinedStr), f"line {node.lineno}: a code that cannot be read off the source"
    assert inside is not None, f"line {node.lineno}: a code put together outside of a function"
    assert len(names) == 1, f"line {node.lineno}: a code put together from several names"
    (name,) = names
    words = [given(call, inside, name) for call, _ in calls(tree, inside.name)]
    assert words, f"line {node.lineno}: nobody calls {inside.name}"
    expression = compile(ast.Expression(node), "code", "eval")
    return {eval(expression, {name: word}) for word in words}


def given(call: ast.Call, function: ast.FunctionDef, name: str) -> str:
    """The word that a call gives for a parameter."""
    position = [argument.arg for argument in function.args.args].index(name)
    word = call.args[position]
    assert isinstance(word, ast.Constant), f"line {call.lineno}: '{name}' is not written out"
    return str(word.value)


def template(message: ast.expr) -> re.Pattern[str]:
    """A pattern of what a message may be, anything standing where a value comes in."""
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    return re.compile(
        "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".*" for p in parts)
    )


def other_messages(trees: list[ast.Module]) -> list[re.Pattern[str]]:
    found = [template(call.args[0]) for tree in trees for call, _ in calls(tree, *SAYS) if call.args]
    return [pattern for pattern in found if len(re.findall("[a-zA-Z]", pattern.pattern)) >= OWN_LETTERS]


def sections(text: str) -> dict[str, str]:
    """Body of each part of the page by its heading."""
    parts = re.split(r"^#{2,3} (.+)$", text, flags=re.MULTILINE)
    headings = parts[1::2]
    assert len(headings) == len(set(headings)), "a heading stands twice"
    return dict(zip(headings, parts[2::2], strict=True))


def quoted(body: str) -> list[str]:
    """Messages that a part quotes, without what the command line puts before them."""
    blocks = re.findall(r"^```text\n(.*?)^```", body, flags=re.MULTILINE | re.DOTALL)
    return [PREFIX.sub("", line, count=1) for block in blocks for line in block.splitlines()]


def code_of(heading: str) -> str | None:
    found = re.fullmatch(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", heading)
    return found[1] if found else None


PARTS = sections(PAGE.read_text(encoding="utf-8"))
BY_CODE = {code: body for heading, body in PARTS.items() if (code := code_of(heading))}
OTHERS = {
    heading: found for heading, body in PARTS.items() if not code_of(heading) and (found := quoted(body))
}
RAISED = case_errors(modules())


def test_every_exit_code_is_told():
    table = PAGE.read_text(encoding="utf-8").partition("**Exit codes**")[2].partition("## The file")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(ExitCode)


def test_every_code_has_its_section_and_every_section_its_code():
    assert len(RAISED) > 20
    assert sorted(BY_CODE) == sorted(RAISED)


@pytest.mark.parametrize("code", BY_CODE)
def test_a_section_quotes_the_message_and_says_more(code):
    messages = quoted(BY_CODE[code])
    assert messages, "no message is quoted"
    for message in messages:
        # The refusals of a bundle's steps are given the image's name later.
        nameless = message.partition(": ")[2]
        known = RAISED.get(code, [])
        assert any(pattern.fullmatch(said) for pattern in known for said in (message, nameless)), message
    assert len(re.sub(r"^```.*?^```", "", BY_CODE[code], flags=re.MULTILINE | re.DOTALL).split()) >= 15


@pytest.mark.parametrize("heading", OTHERS)
def test_other_messages_are_those_of_medkit(heading):
    known = other_messages(modules())
    for message in OTHERS[heading]:
        assert any(pattern.fullmatch(message) for pattern in known), message


@pytest.mark.parametrize(
    "cause",
    [
        lambda folder: find_bundle("hippocampus_segmentation"),
        lambda folder: create("unett"),
        lambda folder: build_command.main(["hippo"], standalone_mode=False),
        lambda folder: read_volume(folder / "scans" / "a.png"),
        lambda folder: find_cases([folder / "empty"]),
        lambda folder: leave_out_results([Case("a", (folder / "results/labels/a.nii",))], folder / "results"),
    ],
    ids=["bundles", "networks", "sources", "endings", "no images", "results alone"],
)
def test_messages_that_list_what_there_is_are_up_to_date(tmp_path, cause):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.png").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedkitError) as raised:
        cause(tmp_path)
    lines = [line for body in PARTS.values() for line in quoted(body)]
    assert str(raised.value).replace(str(tmp_path), "/data") in lines


def test_as_many_structures_are_expected_as_the_page_says():
    expected = ConfigInstance(find_bundle("brain_anatomy_segmentation"), "inference", {}).build("expected")
    nothing = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    with pytest.raises(CaseError) as raised:
        expected({"pred": nothing})
    assert f"/data/scans/knee.nii.gz: {raised.value}".replace("got 0;", "got 3;") in quoted(
        BY_CODE["not-recognised"]
    )


def test_other_messages_are_there():
    assert sum(map(len, OTHERS.values())) > 20


def test_links_within_the_page_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in PARTS}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    for file in re.findall(r"\]\(((?!http)[^)#]+)[^)]*\)", text):
        assert (PAGE.parent / file).is_file(), file


def test_reasons_that_are_elsewhere_are_where_the_page_says():
    head = PAGE.read_text(encoding="utf-8").partition("**Where to look.**")[0]
    links = re.findall(r"\(((?:batch|dicom)\.md)#([^)]+)\)(?: \(([^)]+)\))?", " ".join(head.split()))
    assert len(links) == 5
    for file, anchor, codes in links:
        parts = re.split(
            r"^#{2,3} (.+)$", (PAGE.parent / file).read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        bodies = {
            heading.lower().replace(" ", "-"): body
            for heading, body in zip(parts[1::2], parts[2::2], strict=True)
        }
        for code in re.findall("`([a-z-]+)`", codes):
            assert f"`{code}`" in bodies[anchor], (file, anchor, code)
        assert bodies[anchor]


def found_in(source: str) -> dict[str, list[str]]:
    return {code: [p.pattern for p in found] for code, found in case_errors([ast.parse(source)]).items()}


def test_codes_are_read_off_the_source():
    assert found_in('raise CaseError("a-b", f"{x}: expected")') == {"a-b": [".*:\\ expected"]}
    assert found_in('def f():\n    return errors.CaseError("a-b", "x")') == {"a-b": ["x"]}
    assert found_in("raise CaseError(error.code, str(error))") == {}
    source = 'def f(x, word):\n    raise CaseError(f"{word.split()[0]}-failed", "x")\n'
    assert found_in(source + 'f(1, "read it")\nf(2, "write it")') == {
        "read-failed": ["x"],
        "write-failed": ["x"],
    }


@pytest.mark.parametrize(
    "source",
    [
        "raise CaseError(code, 'x')",
        "raise CaseError('a' + b, 'x')",
        "raise CaseError(f'{word}-failed', 'x')",
        "def f(word):\n    raise CaseError(f'{word}-failed', 'x')",
        "def f(word):\n    raise CaseError(f'{word}-failed', 'x')\nf(other)",
    ],
)
def test_a_code_that_cannot_be_read_off_fails(source):
    with pytest.raises(AssertionError):
        found_in(source)


def test_a_message_of_another_wording_is_no_match():
    (pattern,) = RAISED["file-truncated"]
    (message,) = quoted(BY_CODE["file-truncated"])
    assert pattern.fullmatch(message)
    assert not pattern.fullmatch(message.replace("cut short", "truncated"))
    assert not any(known.fullmatch("medkit is at fault") for known in other_messages(modules()))


def test_a_code_is_no_subclass_of_its_own():
    """Codes are found by the name ``CaseError``; a subclass would hide its own."""
    import medkit.inference.run  # noqa: F401  # with all that it imports

    assert CaseError.__subclasses__() == []
