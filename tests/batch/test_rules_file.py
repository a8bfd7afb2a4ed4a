from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import medkit
from medkit.batch.rules import Criteria, Range, Rule
from medkit.batch.rules_file import check_rules, read_rules
from medkit.errors import UsageError

GOOD = """\
rules:
  - name: brain
    bundle: brain_bundle
    inputs:
      image:
        modality: [MR, ct]
        body_part: brain
        series_description: "(?i)t1"
        slice_thickness_mm: {min: 0.5, max: 1.5}
        slices: {min: 20}
        contrast_agent: no_such
        image_type: {has: M, lacks: [MPR]}
        accept: [derived]
""".replace("no_such", "false")
SMALL = """\
rules:
  - name: brain
    bundle: brain_bundle
    inputs:
      image: {modality: MR}
"""


def write(folder, text):
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_rules(tmp_path):
    (rule,) = read_rules(write(tmp_path, GOOD))
    criteria = rule.inputs["image"]
    assert criteria.series_description.pattern == "(?i)t1"
    assert rule == Rule(
        "brain",
        "brain_bundle",
        {
            "image": Criteria(
                modality=frozenset({"MR", "CT"}),
                body_part=frozenset({"BRAIN"}),
                series_description=criteria.series_description,
                slice_thickness_mm=Range(0.5, 1.5),
                slices=Range(20, float("inf")),
                contrast_agent=False,
                image_type_has=frozenset({"M"}),
                image_type_lacks=frozenset({"MPR"}),
                accept=frozenset({"derived"}),
            )
        },
    )
    assert read_rules(write(tmp_path, SMALL)) == (
        Rule("brain", "brain_bundle", {"image": Criteria(frozenset({"MR"}))}),
    )


def test_each_is_asked_for(tmp_path):
    (rule,) = read_rules(write(tmp_path, SMALL.replace("    inputs", "    series: each\n    inputs")))
    assert rule.each


SECOND = SMALL + SMALL.removeprefix("rules:\n")
WRONG = [
    ("rules: []", 1, "rules: expected a list of at least one rule, got []"),
    ("rule: []", 1, "rule: unknown key 'rule'; did you mean 'rules'?"),
    (SMALL.replace("bundle:", "bundel:"), 3, "rules[1].bundel: unknown key 'bundel'; did you mean 'bundle'?"),
    (
        SMALL.replace("    bundle: brain_bundle\n", ""),
        2,
        "rules[1]: expected a mapping with 'name', 'bundle' and 'inputs'",
    ),
    (SMALL.replace("brain_bundle", "[1]"), 3, "rules[1].bundle: expected a name of letters"),
    (SMALL.replace("name: brain", "name: a brain"), 2, "rules[1].name: expected a name of letters"),
    (
        SMALL.replace("modality: MR", "body_part: MR"),
        5,
        "rules[1].inputs.image: expected a mapping that says",
    ),
    (
        SMALL.replace("modality: MR", "modality: 3"),
        5,
        "inputs.image.modality: expected a word or a list of words, got 3",
    ),
    (SMALL.replace("modality: MR", "modality: []"), 5, "expected a word or a list of words, got []"),
    (GOOD.replace('"(?i)t1"', '"(t1"'), 8, "image.series_description: expected a regular expression"),
    (
        GOOD.replace("min: 0.5", "minimum: 0.5"),
        9,
        "slice_thickness_mm.minimum: unknown key 'minimum'; did you mean 'min'?",
    ),
    (
        GOOD.replace("min: 0.5", "min: thin"),
        9,
        "slice_thickness_mm.min: expected a number of at least 0, got 'thin'",
    ),
    (
        GOOD.replace("min: 0.5", "min: -1"),
        9,
        "slice_thickness_mm.min: expected a number of at least 0, got -1",
    ),
    (GOOD.replace("min: 0.5", "min: 5"), 9, "slice_thickness_mm: expected min below max, got 5 and 1.5"),
    (GOOD.replace("{min: 20}", "20"), 10, "slices: expected 'min', 'max' or both, got 20"),
    (GOOD.replace("{min: 20}", "{}"), 10, "slices: expected 'min', 'max' or both, got {}"),
    (GOOD.replace("agent: false", "agent: no"), 11, "contrast_agent: expected true or false, got 'no'"),
    (GOOD.replace("{has: M, lacks: [MPR]}", "M"), 12, "image_type: expected 'has', 'lacks' or both, got 'M'"),
    (
        GOOD.replace("[derived]", "[derivd]"),
        13,
        "accept[1]: expected derived, secondary, own-result or unmarked",
    ),
    (
        SMALL.replace("MR", "MRI"),
        5,
        "image.modality: expected a modality as DICOM writes it, such as CT, MR or PT, got 'MRI'",
    ),
    (GOOD.replace("[MR, ct]", "[MR, pet]"), 6, "image.modality[2]: expected a modality as DICOM writes it"),
    (SECOND, 6, "rules[2].name: expected a name of its own, got that of rule 1 again"),
    (
        SMALL.replace("    inputs", "    series: both\n    inputs"),
        4,
        "rules[1].series: expected one, or each where",
    ),
    (
        SMALL.replace("    inputs", "    series: each\n    inputs") + "      flair: {modality: MR}\n",
        4,
        "rules[1].series: expected one for a rule of several inputs, got each",
    ),
]


@pytest.mark.parametrize(("text", "line", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_line_and_key(tmp_path, text, line, message):
    path = write(tmp_path, text)
    faults = check_rules(path)
    assert any(fault.startswith(f"{path}: line {line}: ") and message in fault for fault in faults), faults
    assert all("\n" not in fault for fault in faults)
    with pytest.raises(UsageError, match=r"line \d+: ") as caught:
        read_rules(path)
    assert str(caught.value).startswith(faults[0])


def test_all_faults_are_told_in_the_order_of_the_file(tmp_path):
    path = write(tmp_path, GOOD.replace("agent: false", "agent: 1").replace("min: 0.5", "min: thin"))
    faults = check_rules(path)
    assert [fault.split(": ")[1] for fault in faults] == ["line 9", "line 11"]
    with pytest.raises(UsageError, match=r"line 9: .*\n.*line 11: "):
        read_rules(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "not valid YAML"),
        ("- a", "expected a mapping at the top"),
        ("rules: 1\nrules: 2", "line 2: rules: expected a key once"),
    ],
)
def test_what_is_no_yaml_is_refused(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        check_rules(write(tmp_path, text))
    with pytest.raises(UsageError, match="no such file"):
        read_rules(tmp_path / "none.yaml")


def test_the_schema_is_one_and_every_part_says_what_is_expected():
    schema = json.loads((Path(medkit.__file__).parent / "schemas" / "rules.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    bare = []

    def walk(node, where):
        if isinstance(node, dict):
            if (
                {"type", "enum", "anyOf"} & node.keys()
                and not where.endswith("properties")
                and "description" not in node
            ):
                bare.append(where)
            for key, value in node.items():
                walk(value, f"{where}.{key}")

    walk(schema, "")
    assert [where for where in bare if "anyOf" not in where] == []
