"""The texts of each schema are tested with it; here is what all of them have in common."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from medkit.batch.yaml_faults import check_yaml, raise_faults
from medkit.errors import UsageError

SCHEMAS = ("service.schema.json", "rules.schema.json")
WHOLE = """\
# of a night
folder: night
rules: rules.yaml
sources:
  folders:
    - folder: in
    - {folder: in-too, rest_seconds: -1}
destinations: {folders: {out: 7}}
workrs: 2
"""


def check(tmp_path, text, more=lambda content: ()):
    path = tmp_path / "service.yaml"
    path.write_text(text, encoding="utf-8")
    content, faults = check_yaml(path, "service.schema.json", more)
    return content, [fault.removeprefix(f"{path}: ") for fault in faults]


def test_all_faults_are_told_in_the_order_of_the_file(tmp_path):
    _, faults = check(tmp_path, WHOLE)
    assert faults == [
        "line 7: sources.folders[2].rest_seconds: expected a number above 0, got -1",
        "line 8: destinations.folders.out: expected a path, got 7",
        "line 9: workrs: unknown key 'workrs'; did you mean 'workers'?",
    ]


def test_a_key_that_stands_too_far_out_is_told_where_it_belongs(tmp_path):
    _, (fault,) = check(tmp_path, f"{SMALL}deidentify: shift-dates\n")
    assert fault == "line 5: deidentify: unknown key 'deidentify'; it belongs in 'outputs'"
    _, (fault,) = check(tmp_path, SMALL.replace("folder: a", "folders: a"))
    assert fault == "line 1: folders: unknown key 'folders'; did you mean 'folder'?"


@pytest.mark.parametrize(("value", "shown"), [("true", "true"), ("", "null"), ("false", "false"), ("1", "1")])
def test_what_was_got_is_told_as_yaml_has_it(tmp_path, value, shown):
    _, (fault,) = check(tmp_path, f"{SMALL}outputs: {{deidentify: {value}}}\n")
    assert fault.startswith(
        "line 5: outputs.deidentify: expected remove-dates or shift-dates, or no such key"
    )
    assert fault.endswith(f", got {shown}")


def test_a_key_that_is_like_none_is_answered_with_those_that_there_are(tmp_path):
    _, (fault,) = check(tmp_path, "folder: a\nrules: b\nsources: {zzz: 1}\ndestinations: {folders: {o: p}}\n")
    assert fault.startswith("line 3: sources.zzz: unknown key 'zzz'; it has: nodes, folders, archives")


@pytest.mark.parametrize("content", [b"a: [1\n", b"[]\n", b"", "a: Nächte\n".encode("latin-1")])
def test_what_is_no_mapping_in_yaml_is_refused(tmp_path, content):
    path = tmp_path / "service.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"service\.yaml: "):
        check_yaml(path, "service.schema.json", lambda content: ())


SMALL = "folder: a\nrules: b\nsources: {folders: [{folder: c}]}\ndestinations: {folders: {o: p}}\n"


@pytest.mark.parametrize(
    ("key", "shown"), [("1", "1"), ("true", "True"), ("null", "None"), ("[a, b]", "('a', 'b')")]
)
def test_a_key_that_is_no_text_is_told(tmp_path, key, shown):
    _, faults = check(tmp_path, f"{SMALL}bundles:\n  b: {{overrides: {{? {key} : 2}}}}\n")
    assert faults == [f"line 6: bundles.b.overrides: expected text as keys, got {shown}; put it in quotes"]


def test_what_is_merged_in_from_elsewhere_is_told_where_it_ends_up(tmp_path):
    text = f"{SMALL}bundles: {{b: &given {{flips: LR}}}}\nlimits:\n  <<: *given\n"
    _, (fault,) = check(tmp_path, text)
    assert fault.startswith("line 6: limits.flips: unknown key 'flips'")


def test_contradictions_are_looked_for_where_the_schema_finds_nothing(tmp_path):
    asked = []

    def more(content):
        asked.append(content)
        yield ("sources", "folders", 0, "folder"), "expected another"
        yield (), "expected more"

    whole = "folder: a\nrules: b\nsources:\n  folders:\n    - folder: c\ndestinations: {folders: {o: p}}\n"
    content, faults = check(tmp_path, whole, more)
    assert faults == [
        "line 1: the whole: expected more",
        "line 5: sources.folders[1].folder: expected another",
    ]
    assert asked == [content]
    check(tmp_path, WHOLE, more)
    assert len(asked) == 1


def test_all_faults_are_raised_a_line_each():
    raise_faults([])
    with pytest.raises(UsageError, match=r"^one$"):
        raise_faults(["one"])
    with pytest.raises(UsageError, match=r"^one\ntwo\nthree$"):
        raise_faults(["one", "two", "three"])


def test_a_misspelt_key_is_told_in_the_place_of_the_one_that_is_missing_then(tmp_path):
    _, faults = check(tmp_path, SMALL.replace("sources:", "source:"))
    assert faults == ["line 3: source: unknown key 'source'; did you mean 'sources'?"]
    node = "{nodes: [{ae_title: A, caller: [B], prt: 1}]}"
    _, faults = check(tmp_path, SMALL.replace("{folders: [{folder: c}]}", node))
    assert faults == [
        "line 3: sources.nodes[1].caller: unknown key 'caller'; did you mean 'callers'?",
        "line 3: sources.nodes[1].prt: unknown key 'prt'; did you mean 'port'?",
    ]
    _, faults = check(tmp_path, SMALL.replace("rules: b\n", "zzz: 1\n"))
    assert [fault.partition(": ")[2][:30] for fault in faults] == [
        "the whole: expected a mapping ",
        "zzz: unknown key 'zzz'; it has",
    ]
    assert faults[0].endswith("got none for 'rules'")


def parts(node, place="$"):
    """Every schema within a schema, but for alternatives: of these the whole is told."""
    if isinstance(node, dict):
        if node.keys() & {"type", "enum", "pattern", "minimum", "exclusiveMinimum", "minItems", "format"}:
            yield place, node
        for key in node.keys() - {"anyOf"}:
            yield from parts(node[key], f"{place}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from parts(value, f"{place}[{number}]")


@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_may_be_wrong_has_a_description(name):
    found = dict(parts(json.loads((files("medkit") / "schemas" / name).read_text(encoding="utf-8"))))
    assert len(found) > 10
    assert [place for place, node in found.items() if "description" not in node] == []
