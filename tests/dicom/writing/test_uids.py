"""UIDs: the same for the same, others for anything else, in the form of DICOM."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from medkit.dicom.writing import maker as maker_module
from medkit.dicom.writing.uids import ResultUids, derived_uid
from tests.dicom.writing.sources import MAKER


@given(st.lists(st.text()))
def test_a_uid_is_one_of_a_uuid(parts):
    uid = UID(derived_uid(*parts))
    assert uid.is_valid
    assert uid == derived_uid(*parts)
    assert uid.startswith("2.25.")
    assert uuid.UUID(int=int(uid.removeprefix("2.25."))).version == 5


def test_where_one_text_ends_matters():
    assert (
        len({derived_uid("ab", "c"), derived_uid("a", "bc"), derived_uid("abc"), derived_uid("abc", "")}) == 4
    )


def every_uid(uids):
    return {uids.series, uids.instance, uids.inside("dimensions")}


def test_everything_that_decides_a_result_decides_its_uids(oblique, monkeypatch):
    uids = ResultUids(oblique, MAKER, "segmentation-binary", "content")
    known = every_uid(uids)
    assert len(known) == 3
    assert every_uid(replace(uids)) == known
    others = [
        replace(uids, kind="segmentation-labelmap"),
        replace(uids, maker=replace(MAKER, digest="f" * 64)),
        replace(uids, maker=replace(MAKER, settings={"overrides": {"inferer::overlap": 0.25}})),
        replace(uids, maker=replace(MAKER, bundle="other")),
    ]
    for other in others:
        assert not every_uid(other) & known
    monkeypatch.setattr(maker_module, "__version__", "99.0")
    assert not every_uid(uids) & known


def test_other_content_is_another_instance_of_the_same_series(oblique):
    uids = ResultUids(oblique, MAKER, "segmentation-binary", "content")
    other = replace(uids, content="other")
    assert other.series == uids.series
    assert other.instance != uids.instance


@pytest.mark.parametrize("order", [{"a": 1, "b": 2}, {"b": 2, "a": 1}])
def test_the_order_of_settings_does_not_matter(oblique, order):
    first = ResultUids(oblique, replace(MAKER, settings={"a": 1, "b": 2}), "report", "")
    assert ResultUids(oblique, replace(MAKER, settings=order), "report", "").series == first.series
