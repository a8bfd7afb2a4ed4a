from __future__ import annotations

import warnings

import pytest

from medkit import ownership
from medkit.ownership import foreign_owners, warn_of_foreign_owners


@pytest.fixture
def site(tmp_path):
    """A site-packages folder with medkit and its own record in it."""
    (tmp_path / "medkit").mkdir()
    install(tmp_path, "medkit_imaging-0.1.0")
    return tmp_path


def install(site, name, record="medkit/__init__.py,sha256=x,1\n", top_level=None):
    info = site / f"{name}.dist-info"
    info.mkdir()
    if record is not None:
        (info / "RECORD").write_bytes(record if isinstance(record, bytes) else record.encode())
    if top_level is not None:
        (info / "top_level.txt").write_text(top_level)


def test_we_are_no_strangers_to_ourselves(site):
    assert foreign_owners(site / "medkit") == []


def test_a_distribution_whose_files_lie_in_our_package(site):
    install(site, "medkit_lib-0.17.1", "other.py,,\nmedkit/core.py,sha256=y,2\n")
    install(site, "medkit-2.0", record=None, top_level="tests\nmedkit\n")
    assert foreign_owners(site / "medkit") == ["medkit-2.0", "medkit_lib-0.17.1"]


def test_a_like_name_is_no_offence(site):
    install(site, "medkit_tools-1.0", "medkit_tools/__init__.py,,\nx/medkit/y.py,,\n", "medkit_tools")
    install(site, "medkit_empty-1.0", record=None)
    assert foreign_owners(site / "medkit") == []


def test_a_record_that_is_not_utf8(site):
    install(site, "medkit_lib-1.0", b"b\xff.py,,\nmedkit/a.py,,\n")
    assert foreign_owners(site / "medkit") == ["medkit_lib-1.0"]


def test_the_warning_names_both_and_says_what_to_do(site, monkeypatch):
    install(site, "medkit_lib-1.0")
    monkeypatch.setattr(ownership, "__file__", str(site / "medkit" / "ownership.py"))
    with pytest.warns(UserWarning, match=r"medkit-imaging and medkit_lib-1\.0.*Uninstall both"):
        warn_of_foreign_owners()


def test_no_warning_without_cause(site, monkeypatch):
    monkeypatch.setattr(ownership, "__file__", str(site / "medkit" / "ownership.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_foreign_owners()
