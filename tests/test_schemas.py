"""What all schemas have in common."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

SCHEMAS = sorted((files("medkit") / "schemas").iterdir(), key=str)


def without_twins(pairs):
    """A mapping of JSON, of which Python keeps the last of several values of a key, and says nothing."""
    keys = [key for key, _ in pairs]
    assert sorted(set(keys)) == sorted(keys)
    return dict(pairs)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_a_schema_is_one_and_has_no_key_twice(schema):
    assert len(SCHEMAS) > 5
    Draft202012Validator.check_schema(
        json.loads(schema.read_text(encoding="utf-8"), object_pairs_hook=without_twins)
    )
