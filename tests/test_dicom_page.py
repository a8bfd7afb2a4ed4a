"""The page of DICOM names every code and repair, no other, and shows what works."""

from __future__ import annotations

import ast
import re

import pytest

from medkit.dicom import Repair
from tests.dicom.refused_kinds import REFUSED
from tests.dicom_series import make
from tests.test_readme import ROOT, blocks, check, commands

PAGE = "docs/dicom.md"
CALLS = ("Finding", "Refused")


def table(heading: str) -> dict[str, str]:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", part, re.MULTILINE))


def source() -> dict[str, ast.Module]:
    found = {path.name: ast.parse(path.read_text()) for path in (ROOT / "medkit" / "dicom").rglob("*.py")}
    assert len(found) > 20, "this test has lost its subject"
    return found


def said_codes() -> set[str]:
    """Codes that are written out where a finding or a refusal is made."""
    calls = [node for tree in source().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call.args[0] for call in calls if getattr(call.func, "id", "") in CALLS and call.args]
    return {str(node.value) for code in made for node in ast.walk(code) if isinstance(node, ast.Constant)}


def test_every_code_stands_on_the_page():
    page = table("Refusals") | table("Notes")
    assert len(said_codes()) > 40
    assert said_codes() <= page.keys(), "add a row"
    assert set(REFUSED.values()) <= table("Refusals").keys()


def test_the_page_has_no_other_code():
    words = {
        str(node.value)
        for tree in source().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    }
    assert table("Refusals").keys() | table("Notes").keys() <= words


@pytest.mark.parametrize("heading", ["Refusals", "Notes"])
def test_codes_stand_in_the_order_of_the_alphabet(heading):
    codes = list(table(heading))
    assert len(codes) > 20
    assert codes == sorted(codes)


def test_repairs_are_those_that_there_are():
    assert table("Repairs") == {repair.value: repair.meaning for repair in Repair}
    for row in table("Refusals").values():
        for name in re.findall(r"`([a-z-]+)`", row):
            assert name in table("Repairs"), row


@pytest.mark.parametrize("number", range(2))
def test_what_is_shown_works(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make("tilt", tmp_path / "study")
    shown = blocks(PAGE, "python")
    assert len(shown) == 2
    made = {}
    exec(compile(shown[number], PAGE, "exec"), made)
    if number == 0:
        assert "003 (14, 12, 9)" in capsys.readouterr().out
    else:
        assert made["image"].shape == (1, 14, 12, 9)


def test_commands_have_the_options_that_the_page_shows():
    assert len(commands(PAGE)) == 5
    for line in commands(PAGE):
        check(line)


def test_links_lead_somewhere():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert (ROOT / "docs" / target).exists(), target
    for target in re.findall(r"`((?:benchmarks|tests)/[\w./]+)`", text):
        assert (ROOT / target).exists(), target
