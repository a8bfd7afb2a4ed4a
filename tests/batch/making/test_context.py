"""What can be told before the first study comes is told then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medkit.batch.making import BundleShelf, KnownBundle, Outputs
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import UsageError
from tests.batch.making.studies import RULE, open_desk


def test_a_desk_that_is_in_order(desk):
    desk.context.check()
    assert desk.context.shelf.take(RULE.bundle)


@pytest.mark.parametrize(
    ("bundle", "message"),
    [("hippo", "no bundle 'hippo'"), ("glioma_segmentation_agunet", "accept")],
)
def test_a_bundle_that_cannot_be_used(tmp_path, bundle, message):
    desk = open_desk(tmp_path, BundleShelf(), rules=(replace(RULE, bundle=bundle),))
    with pytest.raises(UsageError, match=message):
        desk.context.check()


def test_the_bundles_that_will_run_are_given_once(desk):
    maker = desk.context.shelf.take(RULE.bundle).maker
    again = desk.with_(rules=(RULE, replace(RULE, name="again")))
    assert again.context.check() == [KnownBundle(maker.bundle, maker.version, maker.digest)]


def test_inputs_that_are_not_those_of_the_bundle(desk):
    wrong = replace(RULE, inputs={"a": RULE.inputs["image"], "b": RULE.inputs["image"]})
    with pytest.raises(UsageError, match="t1-weighted-image, got a, b"):
        desk.with_(rules=(wrong,)).context.check()


def test_results_need_a_destination(desk):
    with pytest.raises(UsageError, match="expected a destination"):
        desk.with_(destinations=())


def test_outputs_that_cannot_be():
    with pytest.raises(UsageError, match=r"kinds of objects to write \(seg, sr, sc\), got none"):
        Outputs(kinds=())
    with pytest.raises(UsageError, match="got FRACTIONAL"):
        Outputs(segmentation_type=SegmentationType.FRACTIONAL)


@pytest.mark.parametrize("repair", ["deshear", "resample", "dehsear"])
def test_repairs_that_can_give_no_result(repair):
    with pytest.raises(UsageError, match=rf"split-gaps, .*, got {repair}; leave it out"):
        Outputs(repairs=("drop-stray", repair))
    assert Outputs(repairs=("drop-stray", "accept-count"))
