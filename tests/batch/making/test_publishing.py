"""Results are there whole or not at all, through ``kill -9`` at any change of the disk, and once."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

import pytest
import torch
from pydicom import dcmread

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Ledger, State
from medkit.batch.making import Outputs, make_study, remove_debris
from medkit.batch.making.publishing import published_folder, publishing
from medkit.data.writing import UNFINISHED
from medkit.dicom.writing.results import ResultKind
from tests.batch.making.studies import POLICY, claimed, open_desk

SEG = Outputs(kinds=(ResultKind.SEGMENTATION,))
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
DONE, TOLD = 0, 7


def make_and_die(desk, claim, number):
    """In a process of its own: make a study, and be killed before the change of this number; or end well."""
    seen = 0

    def count(event, given):
        nonlocal seen
        if not given or str(desk.folder) not in str(given[0]):
            return
        writes = event == "open" and str(given[1]).startswith(("w", "x", "a", "r+"))
        if event in CHANGES or writes:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)  # what PyTorch gives to threads is never done where they were lost in a fork
    ledger = Ledger(desk.folder / "ledger.sqlite", "worker", POLICY, desk.clock)  # none survives a fork
    context = replace(desk.context, ledger=ledger)
    sys.addaudithook(count)
    ended = make_study(claim, context)
    return DONE if ended.state is State.MADE else TOLD


def survived(desk, claim, number):
    child = os.fork()
    if child == 0:
        code = TOLD
        try:
            code = make_and_die(desk, claim, number)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (DONE, signal.SIGKILL), status
    return status == DONE


def whole(desk, claim):
    """Names in the published folder of a claim, of which each is a whole object; ``None`` where there is none."""
    folder = published_folder(desk.context.results, claim)
    if not folder.exists():
        return None
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [dcmread(path).Modality for path in paths] == ["SEG"]
    return [path.name for path in paths]


def test_killed_at_any_change_nothing_is_half_made(tmp_path, study, shelf):
    number, published = 0, 0
    while True:
        number += 1
        assert number < 60, "it never ends well"
        desk = open_desk(tmp_path / str(number), shelf, outputs=SEG)
        claim = claimed(desk, study)
        shelf.take(desk.context.rules[0].bundle)
        if survived(desk, claim, number):
            assert whole(desk, claim) == ["003.seg.dcm"]
            assert desk.ledger.study(claim.study).state is State.MADE
            break
        published += whole(desk, claim) is not None
        assert desk.ledger.study(claim.study).state is State.RUNNING
        assert desk.ledger.results(claim.study, 1) == []
        desk.clock.pass_by(POLICY.lease_seconds + 1)
        again = claimed(desk)
        assert again.token > claim.token
        ended = make_study(again, desk.context)
        assert ended.state is State.MADE
        assert desk.made() == [desk.context.results / one.path for one in ended.results]
        assert list(desk.folder.rglob(f"{UNFINISHED}*")) == []
        desk.ledger.close()
    assert number > 6, "too few changes were seen"


def test_killed_after_results_have_their_name_and_before_the_ledger_knows(desk, study, monkeypatch):
    claim = claimed(desk, study)
    with monkeypatch.context() as patched:
        patched.setattr(type(desk.ledger), "made", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_study(claim, desk.context)
    left = desk.made()
    assert len(left) == 3, "results are on disk, and nobody knows"
    assert remove_debris(desk.context.results, desk.ledger) == [], (
        "they are being made, for all that is known"
    )
    desk.clock.pass_by(POLICY.lease_seconds + 1)
    desk.ledger.expire()
    assert remove_debris(desk.context.results, desk.ledger) == [published_folder(desk.context.results, claim)]
    ended = make_study(claimed(desk), desk.context)
    assert ended.state is State.MADE
    assert [path.name for path in desk.made()] == [path.name for path in left]
    assert remove_debris(desk.context.results, desk.ledger) == []
    assert len(desk.made()) == 3


def test_what_raises_leaves_nothing(tmp_path, desk, study):
    claim = claimed(desk, study)

    def half():
        with publishing(tmp_path / "results", claim) as folder:
            (folder / "half").write_text("of it")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        half()
    assert list((tmp_path / "results").rglob("half")) == []
    assert not published_folder(tmp_path / "results", claim).exists()


def test_a_worker_that_still_writes_its_earlier_attempt_keeps_nobody_from_the_next(desk, study, monkeypatch):
    slow = claimed(desk, study)
    left = published_folder(desk.context.results, slow).with_name(f"{UNFINISHED}{slow.token}")
    left.mkdir(parents=True)
    real, late = os.rmdir, []

    def rmdir(path, **given):
        if str(path).endswith(left.name) and not late:
            late.append((left / "late").write_text("of it"))
        real(path, **given)

    monkeypatch.setattr(os, "rmdir", rmdir)
    desk.clock.pass_by(POLICY.lease_seconds + 1)
    assert make_study(claimed(desk), desk.context).state is State.MADE
    assert late, "it wrote while the folder was removed"
    assert remove_debris(desk.context.results, desk.ledger) == [left]
    assert not left.exists()


def test_a_worker_that_lost_its_lease_does_not_touch_what_the_next_one_made(desk, study):
    slow = claimed(desk, study)
    desk.clock.pass_by(POLICY.lease_seconds + 1)
    fast = claimed(desk)
    assert make_study(fast, desk.context).state is State.MADE
    before = {path: path.read_bytes() for path in desk.made()}
    ended = make_study(slow, desk.context)
    assert (ended.state, ended.code) == (None, "lease-lost")
    with publishing(desk.context.results, slow) as folder:  # as far as it may come
        (folder / "late").write_text("")
    assert before.items() <= {path: path.read_bytes() for path in desk.made()}.items()
    assert remove_debris(desk.context.results, desk.ledger) == [published_folder(desk.context.results, slow)]
    assert {path: path.read_bytes() for path in desk.made()} == before


def test_what_is_not_ours_is_no_debris(desk):
    results = desk.context.results
    for name in ("notes/1/2", f"{'a' * 64}/one/2", f"{'a' * 64}/1/two"):
        (results / name).mkdir(parents=True)
    assert remove_debris(results, desk.ledger) == []
    assert len(list(results.glob("*/*/*"))) == 3


def test_results_are_for_their_owner_alone(desk, study):
    make_study(claimed(desk, study), desk.context)
    folders = [desk.context.results, *(path for path in desk.context.results.glob("*/*/*"))]
    assert len(folders) == 2
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_debris_that_somebody_else_removes_meanwhile(desk, monkeypatch):
    folder = desk.context.results / hash_uid("1.2") / "1" / f"{UNFINISHED}5"
    folder.mkdir(parents=True)
    real = desk.ledger.studies

    def studies(*given):
        folder.rmdir()
        return real(*given)

    monkeypatch.setattr(desk.ledger, "studies", studies)
    remove_debris(desk.context.results, desk.ledger)
    assert not folder.exists()
