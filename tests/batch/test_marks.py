"""What is missed of a study stays said until its owner, or the instance itself, takes it away."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.marks import Mark, StudyMarks
from medkit.batch.spool import Spool
from tests.batch.test_spool import ROOMY, STUDY, put

PLACE = Mark(hash_uid("a place"), "broken-file", "folder-a")


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", ROOMY)


def test_what_an_archive_has_is_kept_beside_the_study_and_goes_with_it(tmp_path, spool):
    assert spool.expected(STUDY) is None
    spool.expect(STUDY, {"1.2.3.9": 3})
    put(spool)
    spool.expect(STUDY, {"1.2.3.9": 4, "1.2.3.8": 1})
    again = Spool(tmp_path / "spool", ROOMY)
    assert again.expected(STUDY) == {"1.2.3.9": 4, "1.2.3.8": 1}
    assert len(again.instances(STUDY)) == 1
    assert again.missing(STUDY) == {}
    spool.expect(STUDY, {})
    assert stat.S_IMODE((tmp_path / "spool" / "studies" / STUDY / "expected.json").stat().st_mode) == 0o600
    spool.discard(STUDY, nullcontext())
    assert spool.expected(STUDY) is None


def test_what_is_missed_for_a_reason_of_the_source_is_marked_until_it_is_found(spool):
    put(spool)
    for mark in (PLACE, PLACE):
        spool.miss(STUDY, mark)
    assert spool.missing(STUDY) == {PLACE.name: "broken-file"}
    assert spool.has(STUDY, PLACE)
    spool.found(STUDY, Mark(PLACE.name, "too-large", PLACE.owner))
    assert spool.marks(STUDY) == [PLACE]
    spool.found(STUDY, PLACE)
    spool.found(hash_uid("1.2.9"), PLACE)
    assert spool.missing(STUDY) == {}
    assert not spool.has(STUDY, PLACE)


def test_a_mark_is_its_owners_alone(spool):
    others = Mark(PLACE.name, PLACE.code, "folder-b")
    spool.miss(STUDY, PLACE)
    digest = spool.digest(STUDY)
    spool.miss_only(STUDY, "folder-b", {others})
    assert spool.digest(STUDY) == digest, "the same is missed, whoever says so"
    spool.miss_only(STUDY, "folder-b", ())
    assert spool.marks(STUDY) == [PLACE]
    more = Mark(hash_uid("another place"), "broken-file", PLACE.owner)
    spool.miss_only(STUDY, PLACE.owner, {more})
    assert spool.marks(STUDY) == [more]
    spool.miss(STUDY, Mark(hash_uid("1.2.3.1"), "broken-file", PLACE.owner))
    put(spool, "1")
    assert spool.marks(STUDY) == [more], "an instance that comes is missed by nobody"


def test_what_is_missed_and_what_is_expected_make_another_revision(spool):
    put(spool)
    digests = [spool.digest(STUDY)]
    spool.miss(STUDY, PLACE)
    digests.append(spool.digest(STUDY))
    spool.expect(STUDY, {"1.2.3.9": 2})
    digests.append(spool.digest(STUDY))
    spool.expect(STUDY, {"1.2.3.9": 1})
    digests.append(spool.digest(STUDY))
    assert len(set(digests)) == 4
    without = spool.digest(STUDY, without=[PLACE.code])
    spool.found(STUDY, PLACE)
    assert spool.digest(STUDY) == without
    (spool.folder / "studies" / STUDY / "expected.json").unlink()
    assert spool.digest(STUDY) == digests[0]


def test_a_mark_that_cannot_be_written_is_not_passed_over(spool, monkeypatch):
    def full(self, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(OSError, match="No space"):
        spool.miss(STUDY, PLACE)


def test_a_mark_that_was_lifted_is_kept_apart(spool):
    put(spool)
    spool.lift(STUDY, PLACE)
    assert spool.lifted(STUDY) == []
    digests = [spool.digest(STUDY)]
    spool.miss(STUDY, PLACE)
    digests.append(spool.digest(STUDY))
    spool.lift(STUDY, PLACE)
    digests.append(spool.digest(STUDY))
    assert (spool.marks(STUDY), spool.missing(STUDY), spool.lifted(STUDY)) == ([], {}, [PLACE])
    assert not spool.has(STUDY, PLACE)
    assert len(set(digests)) == 3
    spool.miss_only(STUDY, PLACE.owner, {PLACE})
    assert spool.lifted(STUDY) == [PLACE], "its source still finds it so"
    spool.miss(STUDY, PLACE)
    assert (spool.marks(STUDY), spool.lifted(STUDY)) == ([PLACE], [])
    spool.lift(STUDY, PLACE)
    spool.miss_only(STUDY, PLACE.owner, ())
    assert spool.digest(STUDY) == digests[0]


def test_they_can_be_read_where_no_store_is_and_none_is_made(tmp_path, spool):
    put(spool)
    spool.miss(STUDY, PLACE)
    assert StudyMarks(spool.folder).marks(STUDY) == [PLACE]
    nowhere = StudyMarks(tmp_path / "nowhere")
    assert (nowhere.marks(STUDY), nowhere.lifted(STUDY), nowhere.missing(STUDY)) == ([], [], {})
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("ae_title", ["SCANNER", "CT/1 [b]", "a.b", ".", "X" * 16])
def test_a_mark_of_a_sender_tells_who_it_is(spool, ae_title):
    put(spool)
    mark = Mark.not_released(ae_title)
    spool.miss(STUDY, mark)
    assert [one.caller for one in spool.marks(STUDY)] == [ae_title]
    spool.lift(STUDY, mark)
    assert [one.caller for one in spool.lifted(STUDY)] == [ae_title]
    assert PLACE.caller is None
