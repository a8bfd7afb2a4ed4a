"""Fragments: deep merging, YAML 1.2, and refusal of what would go unnoticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.bundle.fragments import merge, read_fragment, read_yaml
from medkit.errors import UsageError

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
CONFIGS = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), CONFIGS, max_size=3)


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(texts))}.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("on", "on"), ("no", "no"), ("0o14", 12), ("014", 14), ("true", True),
     ("null", None), ("~", None), ("1:30", "1:30"), ("'3'", "3"), ("[1, 2]", [1, 2])],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(tmp_path, text, value):
    read = read_yaml(write(tmp_path, file=f"key: {text}\n"))["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: 1\na: 2\n", "line 2: a: expected a key once"), ("a: [1\n", "not valid YAML"), ("- 1\n", "expected a mapping"),
     ("", "expected a mapping"), ("a: !!python/object:os.system x\n", "not valid YAML")],
)  # fmt: skip
def test_what_is_no_mapping_is_refused(tmp_path, text, words):
    path = write(tmp_path, file=text)
    with pytest.raises(UsageError, match=words) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: 1\nb:\n  - {c: 2, 1: 3,\n     c: 4, '1': 5}\na: 6\n",
            [
                "line 4: b[1].c: expected a key once, got it in line 3 too; leave one of them out",
                "line 5: a: expected a key once, got it in line 1 too; leave one of them out",
            ],
        ),
        ("a: 1\n1: 2\n1.0: 3\n", ["line 3: expected a key once, got it again; leave one of them out"]),
        (
            "a: &x {b: *x}\na: 1\n",
            ["line 2: a: expected a key once, got it in line 1 too; leave one of them out"],
        ),
        (
            "a: &x {b: 1,\n  b: 2}\nc: [*x, *x]\n",
            ["line 2: a.b: expected a key once, got it in line 1 too; leave one of them out"],
        ),
        (
            "? [a, b]\n: {c: 1,\n  c: 2}\n? [a, b]\n: 3\n",
            ["line 3: c: expected a key once, got it in line 2 too; leave one of them out"],
        ),
        (
            "? [a, b]\n: 1\n? [a, b]\n: 2\n",
            ["line 3: expected a key once, got it again; leave one of them out"],
        ),
    ],
)
def test_keys_that_are_there_twice_are_all_told(tmp_path, text, told):
    path = write(tmp_path, file=text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value).splitlines() == [f"{path}: {one}" for one in told]


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: *x}\n",
        "a: &x {b: [1, {c: *x}]}\n",
        "a: &x [*x]\n",
        "a: " + "[" * 100 + "]" * 100,
        "a: " + "[" * 3000 + "]" * 3000,
        "a0: &x0 []\n" + "".join(f"a{n}: &x{n} [*x{n - 1}]\n" for n in range(1, 101)),
    ],
    ids=["mapping", "below", "list", "deep", "too deep to be read", "deep by aliases"],
)
def test_what_is_too_deep_or_has_no_end_is_refused(tmp_path, text):
    path = write(tmp_path, file=text)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(
        f"{path}: expected at most 100 levels of lists and mappings, got more"
    )


def test_what_is_deep_is_read(tmp_path):
    content = read_yaml(write(tmp_path, file="a: " + "[" * 99 + "]" * 99))
    assert str(content).count("[") == 99


def test_an_alias_may_be_used_more_than_once(tmp_path):
    path = write(tmp_path, file="a: &x {b: [1]}\nc: *x\nd: [*x, *x]\n")
    assert read_yaml(path) == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, {"b": [1]}]}


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "old.yaml").write_bytes("a: Nächte\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"old\.yaml: expected text in UTF-8"):
        read_yaml(tmp_path / "old.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.yaml: no such file"):
        read_yaml(tmp_path / "nothing.yaml")


def test_dictionaries_merge_deeply_and_lists_are_replaced():
    below = {"net": {"_target_": "UNet", "filters": [1, 2, 3], "norm": {"name": "instance"}}, "seed": 1}
    above = {"net": {"filters": [4], "norm": {"affine": True}}, "seed": None}
    assert merge(below, above) == {
        "net": {"_target_": "UNet", "filters": [4], "norm": {"name": "instance", "affine": True}},
        "seed": None,
    }


@given(MAPPINGS, MAPPINGS)
def test_all_that_lies_above_counts_and_the_inputs_stay(below, above):
    before = repr((below, above))
    merged = merge(below, above)
    assert repr((below, above)) == before
    assert list(merged) == [*below, *(key for key in above if key not in below)]
    for key, value in merged.items():
        deeper = isinstance(below.get(key), dict) and isinstance(above.get(key), dict)
        expected = merge(below[key], above[key]) if deeper else above.get(key, below.get(key))
        assert value == expected


@given(MAPPINGS)
def test_merging_with_nothing_or_itself_changes_nothing(a):
    assert merge(a, {}) == merge({}, a) == merge(a, a) == a


def test_a_fragment_lies_over_its_parents_first_to_last(tmp_path):
    path = write(
        tmp_path,
        child="extends: [one.yaml, two.yaml]\nc: 3\nnet: {depth: 9}\n",
        one="a: 1\nb: 1\nnet: {kind: UNet, depth: 1}\n",
        two="extends: base.yaml\nb: 2\n",
        base="a: 0\nd: 0\n",
    )
    assert read_fragment(path) == {"a": 0, "b": 2, "net": {"kind": "UNet", "depth": 9}, "d": 0, "c": 3}


def test_parents_are_looked_up_beside_the_file_that_names_them(tmp_path, monkeypatch):
    for folder, text in (("shared", "a: 1\n"), ("bundle", "extends: ../shared/file.yaml\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.yaml").write_text(text)
    monkeypatch.chdir(tmp_path.parent)
    assert read_fragment(tmp_path / "bundle" / "file.yaml") == {"a": 1}


def test_one_parent_may_be_reached_twice(tmp_path):
    path = write(
        tmp_path, child="extends: [one.yaml, two.yaml]\n", one="extends: base.yaml\n",
        two="extends: base.yaml\n", base="a: 1\n",
    )  # fmt: skip
    assert read_fragment(path) == {"a": 1}


@pytest.mark.parametrize(
    ("texts", "words"),
    [({"a": "extends: nowhere.yaml\n"}, ["a.yaml", "nowhere.yaml", "there is no"]),
     ({"a": "extends: b.yaml\n", "b": "extends: a.yaml\n"}, ["circle", "a.yaml -> b.yaml -> a.yaml"]),
     ({"a": "extends: a.yaml\n"}, ["circle"]),
     ({"a": "extends: 3\n"}, ["a.yaml", "'extends'", "3"]),
     ({"a": "extends: [b.yaml, 4]\n", "b": "c: 1\n"}, ["a.yaml", "'extends'"]),
     ({"a": "extends: b.yaml\n", "b": "[1\n"}, ["b.yaml", "not valid YAML"])],
)  # fmt: skip
def test_parents_that_do_not_serve_are_refused(tmp_path, texts, words):
    with pytest.raises(UsageError) as caught:
        read_fragment(write(tmp_path, **texts))
    assert all(word in str(caught.value) for word in words), str(caught.value)
