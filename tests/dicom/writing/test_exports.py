"""What `medkit.dicom.writing` promises can be imported from it, whatever was imported before."""

from __future__ import annotations

import pkgutil

import pytest

import medkit.dicom.writing as writing


def test_every_name_that_is_promised_can_be_had():
    constants = {"UNCERTAINTY"}
    assert all(getattr(writing, name).__name__ == name for name in {*writing.__all__} - constants)
    assert isinstance(writing.UNCERTAINTY, writing.MapQuantity)
    with pytest.raises(AttributeError, match="no attribute 'read'"):
        _ = writing.read


def test_no_name_is_that_of_a_module():
    # Once the module is imported, it would stand in the place of what has its name.
    modules = {module.name for module in pkgutil.iter_modules(writing.__path__)}
    assert "segmentation" in modules
    assert not modules & {*writing.__all__}
