"""Declared versions: compared as versions, and enforced."""

from __future__ import annotations

import pytest

from medkit.bundle import versions
from medkit.bundle.versions import check_versions, declared_versions
from medkit.errors import UsageError

INSTALLED = {"monai": "1.10.0", "torch": "2.13.0+cpu", "numpy": "2.0.0rc1", "nibabel": "5.2"}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    def version(name):
        if name not in INSTALLED:
            raise versions.PackageNotFoundError(name)
        return INSTALLED[name]

    monkeypatch.setattr(versions, "version", version)


def test_the_three_of_monai_and_all_packages_are_declared():
    metadata = {
        "monai_version": "1.6.1",
        "pytorch_version": "2.10",
        "numpy_version": "1.26",
        "required_packages_version": {"nibabel": "5.2", "fire": None},
    }
    assert declared_versions(metadata) == {
        "monai": "1.6.1",
        "torch": "2.10",
        "numpy": "1.26",
        "nibabel": "5.2",
    }


def test_older_bundles_call_them_optional():
    assert declared_versions({"optional_packages_version": {"nibabel": "3.2.1"}}) == {"nibabel": "3.2.1"}
    both = {"optional_packages_version": {"a": "1"}, "required_packages_version": {"b": "2"}}
    assert declared_versions(both) == {"b": "2"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    # As strings, "1.10.0" < "1.9.0" and "2.13.0+cpu" < "2.9".
    [("monai", "1.9.0"), ("monai", "1.10.0"), ("monai", "1.10"), ("torch", "2.13.0"), ("torch", "2.9"),
     ("torch", "2.13.0+cu126"), ("numpy", "1.26"), ("nibabel", "5.2.0"), ("nibabel", "5")],
)  # fmt: skip
def test_the_same_version_or_a_later_one_serves(name, wanted):
    check_versions({"required_packages_version": {name: wanted}}, "tiny")


@pytest.mark.parametrize(
    ("name", "wanted", "here"),
    [("monai", "1.11", "1.10.0"), ("monai", "1.10.1", "1.10.0"), ("torch", "2.13.1", "2.13.0"),
     ("torch", "3.0.0+cpu", "2.13.0"), ("numpy", "2.0.0", "2.0.0rc1"), ("simpleitk", "2.3", "not installed")],
)  # fmt: skip
def test_what_is_older_or_lacking_is_refused_with_the_command_that_mends_it(name, wanted, here):
    with pytest.raises(UsageError) as caught:
        check_versions({"required_packages_version": {name: wanted, "nibabel": "5"}}, "tiny")
    assert str(caught.value) == (
        f"tiny: needs at least {name} {wanted} (here: {here}); run: pip install '{name}>={wanted}'"
    )


def test_all_that_is_lacking_is_told_at_once():
    with pytest.raises(UsageError, match=r"'monai>=9' 'torch>=9'$"):
        check_versions({"monai_version": "9", "pytorch_version": "9"}, "tiny")


@pytest.mark.parametrize("wanted", [">=1.0", "latest", "1.x", "unknown"])
def test_what_is_no_version_is_refused(wanted):
    with pytest.raises(UsageError, match="which is no version") as caught:
        check_versions({"monai_version": wanted}, "tiny")
    assert f"monai '{wanted}'" in str(caught.value)


@pytest.mark.parametrize("packages", [["nibabel"], "nibabel", 3])
def test_packages_that_are_no_names_and_versions_are_refused(packages):
    with pytest.raises(UsageError, match="required_packages_version"):
        check_versions({"required_packages_version": packages}, "tiny")


def test_nothing_declared_is_nothing_to_enforce():
    check_versions({}, "tiny")


def test_optional_package_may_be_absent_but_not_old():
    check_versions({"optional_packages_version": {"no-such-distribution": "1.0"}}, "zoo")
    with pytest.raises(UsageError, match=r"nibabel 999"):
        check_versions({"optional_packages_version": {"nibabel": "999"}}, "zoo")
