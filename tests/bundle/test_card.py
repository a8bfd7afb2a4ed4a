"""The model card: one template, and no empty cells."""

from __future__ import annotations

import pytest

from medkit.bundle.build import bundle_sources, bundle_text
from medkit.bundle.card import render_card
from medkit.errors import UsageError


def card(tmp_path, template, metadata=None, record=None):
    path = tmp_path / "card.md.j2"
    path.write_text(template)
    return render_card(path, "tiny", metadata or {}, record)


def test_names_metadata_and_record_are_filled_in(tmp_path):
    template = (
        "# {{ name }}\n{{ metadata.task }}\n{% if record %}\nDice {{ record.dice }}\n{% endif %}\nend\n"
    )
    assert card(tmp_path, template, {"task": "a < b & c"}) == "# tiny\na < b & c\nend\n"
    assert card(tmp_path, template, {"task": "t"}, {"dice": 0.5}) == "# tiny\nt\nDice 0.5\nend\n"


@pytest.mark.parametrize(
    ("template", "words"),
    [("{{ metadata.taks }}", "taks"), ("{{ record.dice }}", "dice"), ("{{ nobody }}", "nobody"),
     ("{% if %}", "tiny"), ("{% include 'no_such.j2' %}", "no_such")],
)  # fmt: skip
def test_what_is_not_there_is_an_error_and_no_empty_cell(tmp_path, template, words):
    with pytest.raises(UsageError, match=words) as caught:
        card(tmp_path, template, {"task": "t"}, {})
    assert "card.md.j2: the card of tiny" in str(caught.value)


def test_a_missing_template_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"card\.md\.j2"):
        render_card(tmp_path / "card.md.j2", "tiny", {}, None)


@pytest.mark.parametrize("source", bundle_sources(), ids=lambda source: source.name)
def test_every_card_says_what_the_bundle_is_for_and_ends_a_line(source):
    text = bundle_text(source)["docs/README.md"]
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert source.name in text
    assert not any(mark in text for mark in ("{{", "{%", "None", "nan"))
