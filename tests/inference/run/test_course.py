"""The course of a run: one case after the other, the next one read beside it, and nothing piles up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest

import medkit
from medkit.data import find_cases
from medkit.inference.run import RunOptions, _overlapped, predict_cases
from tests.inference.run.reports import report
from tests.phantoms import hippocampus, nifti


def test_interrupted_run_reports_what_was_done(tiny, images, tmp_path):
    def stop(outcome):
        if outcome.case.name == "a":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cases(tiny, find_cases([images]), tmp_path / "out", on_case=stop)
    found = report(tmp_path / "out")
    assert 1 <= found["cases_done"] < 3
    for record in found["cases"]:
        assert all((tmp_path / "out" / file).is_file() for file in record["outputs"].values())


def test_memory_is_announced_before_the_first_case(tiny, images, tmp_path):
    nib.save(nifti(hippocampus((26, 22, 18))[0]), images / "b.nii.gz")
    events = []
    predict_cases(
        tiny,
        find_cases([images]),
        tmp_path / "out",
        RunOptions(pictures=False),
        on_start=events.append,
        on_case=lambda outcome: events.append(outcome.case.name),
    )
    assert events[1:] == ["a", "b", "c"]
    assert events[0].startswith("memory: ")
    assert "26 x 22 x 18" in events[0]


@pytest.mark.parametrize(("flips", "copies"), [("", 1), ("LR,AP", 4)])
def test_windows_are_told_those_of_mirror_images_too(tiny_root, images, tmp_path, flips, copies):
    bundle = medkit.load(tiny_root, flips=flips, overrides={"inferer::sw_batch_size": 3})
    for name in "ab":
        nib.save(nifti(hippocampus((26, 22, 18))[0]), images / f"{name}.nii.gz")
    heard = []
    predict_cases(
        bundle,
        find_cases([images / "a.nii.gz", images / "b.nii.gz"]),
        tmp_path / "out",
        RunOptions(pictures=False),
        on_windows=lambda done, total: heard.append((done, total)),
    )
    half, (total,) = len(heard) // 2, {total for _, total in heard}
    assert heard[:half] == heard[half:], "two cases of one size"
    done = [number for number, _ in heard[:half]]
    assert done == sorted(set(done))
    assert done[-1] == total
    assert len(done) == copies * -(-(total // copies) // 3) > copies, "batches of three"
    bundle.predict(images / "a.nii.gz")
    assert len(heard) == 2 * half, "nobody listens any more"


def test_overlap_keeps_order_and_lets_nothing_pile_up():
    started, lock = [], threading.Lock()

    def work(item):
        with lock:
            started.append(item)
        return item * 10

    with ThreadPoolExecutor(1) as executor:
        for count, result in enumerate(_overlapped(executor, work, iter(range(6)))):
            assert result == count * 10
            assert len(started) <= count + 2


def test_overlap_does_not_keep_an_item_while_the_next_is_made():
    import weakref

    class Item:
        pass

    alive = []

    def items():
        for _ in range(4):
            item = Item()
            alive.append(weakref.ref(item))
            yield item
            del item
            time.sleep(0.02)  # the worker finishes and lets go
            assert alive[-1]() is None

    with ThreadPoolExecutor(1) as executor:
        list(_overlapped(executor, lambda item: None, items()))


def test_labels_do_not_depend_on_the_other_cases(tiny, segment, images, tmp_path):
    segment()
    alone = tiny.predict(images / "c.nii.gz").labels
    np.testing.assert_array_equal(
        np.asarray(nib.load(tmp_path / "out" / "labels" / "c.nii.gz").dataobj), alone
    )
