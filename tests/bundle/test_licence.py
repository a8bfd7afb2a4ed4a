"""Terms that forbid commercial use are accepted by name, or nothing runs."""

from __future__ import annotations

import pytest

from medkit.bundle.licence import accepted_licence
from medkit.bundle.store import BundleFolder
from medkit.errors import UsageError
from tests.tiny_bundle import edit_json


def restrict(root, **metadata) -> BundleFolder:
    content = {"commercial_use": False, **metadata}
    edit_json(root / "configs" / "metadata.json", lambda found: found.update(content))
    return BundleFolder(root)


def test_a_bundle_that_allows_commercial_use_asks_for_nothing(tiny):
    for accept in (False, True):
        assert accepted_licence(BundleFolder(tiny), accept=accept) is None


def test_a_foreign_bundle_that_says_nothing_asks_for_nothing(tiny):
    edit_json(tiny / "configs" / "metadata.json", lambda found: found.pop("commercial_use"))
    assert accepted_licence(BundleFolder(tiny), accept=False) is None


def test_what_is_accepted_is_told_by_its_spdx_name(tiny):
    bundle = restrict(tiny, licence_file="cc-by-nc-sa-4.0")
    assert accepted_licence(bundle, accept=True) == "CC-BY-NC-SA-4.0"


def test_without_acceptance_terms_and_flag_are_named(tiny):
    bundle = restrict(tiny, licence_file="cc-by-nc-sa-4.0")
    with pytest.raises(UsageError, match=r"forbid commercial use \(CC-BY-NC-SA-4\.0\)") as caught:
        accepted_licence(bundle, accept=False)
    assert f"read {bundle.root}/LICENSE, and add --accept-licence" in str(caught.value)
    assert (bundle.root / "LICENSE").is_file()
    assert "accept_licence=True" in str(caught.value)


def test_terms_without_a_name_are_where_the_licence_lies(tiny):
    bundle = restrict(tiny)
    edit_json(tiny / "configs" / "metadata.json", lambda found: found.pop("licence_file"))
    assert accepted_licence(BundleFolder(tiny), accept=True) == f"see {bundle.root}/LICENSE"
