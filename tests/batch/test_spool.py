from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ImplicitVRLittleEndian

from medkit.batch.identity import hash_uid
from medkit.batch.marks import Mark
from medkit.batch.spool import NotTaken, Spool, SpoolLimits, Taken
from medkit.errors import MedkitError
from tests.batch.intake.door import write_study

STUDY = hash_uid("1.2.3")
ROOMY = SpoolLimits(free_bytes=0)


def dicom(body=b"body", preamble=bytes(128)):
    return preamble + b"DICM" + body


def put(spool, instance="1", content=b"body", study="1.2.3"):
    return spool.store(study, f"1.2.3.{instance}", io.BytesIO(dicom(content)))


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", ROOMY)


def test_what_was_stored_is_there_for_the_next_process(tmp_path, spool):
    stored = [put(spool, "1"), put(spool, "2", b"other")]
    assert [one.taken for one in stored] == [Taken.NEW] * 2
    again = Spool(tmp_path / "spool", ROOMY)
    assert again.studies() == [STUDY]
    assert again.instances(STUDY) == sorted((one.instance for one in stored), key=lambda one: one.instance)
    for one, content in zip(stored, (b"body", b"other"), strict=True):
        assert one.instance.path.read_bytes() == dicom(content)
        assert one.instance.content == hashlib.sha256(dicom(content)).hexdigest()
        assert one.instance.size == len(dicom(content))
    assert not list((tmp_path / "spool" / "incoming").iterdir())
    assert again.damaged(STUDY) == again.conflicts(STUDY) == []
    assert (again.count(STUDY), again.count(hash_uid("9.9"))) == (len(again.instances(STUDY)), 0)
    assert again.missing(STUDY) == {}


def test_names_and_folders_tell_nothing_and_are_the_owners_alone(tmp_path, spool):
    put(spool)
    paths = list((tmp_path / "spool").rglob("*"))
    assert len(paths) == 4
    for path in paths:
        assert "1.2.3" not in path.name
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_file_and_folders_are_on_disk_before_the_sender_is_told(tmp_path, spool, monkeypatch):
    calls = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append(os.fstat(d).st_ino), real(d)))
    path = put(spool).instance.path
    assert (
        calls
        == [path.parent.parent.stat().st_ino, path.stat().st_ino, path.parent.stat().st_ino][1:2] + calls[1:]
    )
    assert calls[0] == path.stat().st_ino, "the bytes first"
    assert calls[-1] == path.parent.stat().st_ino, "its name last"
    assert path.parent.parent.stat().st_ino in calls, "and the study's own name"


def test_the_same_again_is_one_file(spool):
    first, second = put(spool), put(spool)
    assert second.taken is Taken.SAME
    assert first.instance == second.instance
    assert len(spool.instances(STUDY)) == 1


def test_the_same_again_mends_what_was_damaged_on_the_disk(spool):
    stored = put(spool).instance
    digest = spool.digest(STUDY)
    stored.path.write_bytes(stored.path.read_bytes()[:-1] + b"!")
    assert spool.damaged(STUDY) == [stored]
    assert put(spool).taken is Taken.SAME
    assert spool.damaged(STUDY) == []
    assert (spool.instances(STUDY), spool.digest(STUDY)) == ([stored], digest)


def test_another_content_is_a_conflict_that_is_kept_and_told(spool):
    whole = put(spool, "2")
    contents = [put(spool, "1", content).instance for content in (b"one", b"two")]
    assert put(spool, "1", b"three").taken is Taken.CONFLICT
    assert put(spool, "1", b"two").taken is Taken.SAME
    assert spool.conflicts(STUDY) == [hash_uid("1.2.3.1")]
    assert whole.instance.instance not in spool.conflicts(STUDY)
    assert spool.held(STUDY) == {one.instance for one in spool.instances(STUDY)}
    assert [one.path.read_bytes() for one in contents] == [dicom(b"one"), dicom(b"two")]


def test_a_revision_is_known_by_instances_and_contents(spool):
    digests = set()
    for instance, content in (("1", b"one"), ("2", b"one"), ("1", b"two")):
        put(spool, instance, content)
        digests.add(spool.digest(STUDY))
    assert len(digests) == 3
    put(spool, "1", b"two")
    assert spool.digest(STUDY) in digests


@given(st.binary(min_size=128, max_size=128), st.binary(max_size=300))
def test_a_preamble_travels_no_further(tmp_path, preamble, body):
    spool = Spool(tmp_path / "spool", ROOMY)
    stored = spool.store("1.2.3", "1.2.3.1", io.BytesIO(dicom(body, b"MZ" + preamble[2:])))
    assert stored.instance.path.read_bytes() == dicom(body)
    assert put(spool, "1", body).taken is Taken.SAME


class Dribble(io.RawIOBase):
    """A source that gives a few bytes at a time, as a socket does."""

    def __init__(self, content, step):
        self.left, self.step = content, step

    def read(self, size=-1):
        taken = self.left[: min(self.step, size)]
        self.left = self.left[len(taken) :]
        return taken


@given(st.binary(max_size=300), st.integers(1, 200))
def test_other_bytes_are_stored_as_they_come(tmp_path, content, step):
    spool = Spool(tmp_path / "spool", ROOMY)
    path = spool.store("1.2.3", "1.2.3.1", Dribble(content, step)).instance.path
    assert path.read_bytes() == (content if content[128:132] != b"DICM" else bytes(128) + content[128:])
    path = spool.store("1.2.3", "1.2.3.2", Dribble(dicom(content, b"\xff" * 128), step)).instance.path
    assert path.read_bytes() == dicom(content)


def low_disk(free):
    return lambda path: SimpleNamespace(free=free)


def test_a_disk_that_is_nearly_full_is_out_of_resources_until_there_is_room(tmp_path):
    free = [1000]
    limits = SpoolLimits(free_bytes=1000)
    spool = Spool(tmp_path, limits, lambda path: SimpleNamespace(free=free[0]))
    put(spool, "1")
    free[0] = 999
    with pytest.raises(NotTaken, match="expected 0 MiB free on the disk") as caught:
        put(spool, "2")
    assert (caught.value.code, caught.value.dicom_status) == ("low-disk", 0xA700)
    assert spool.missing(STUDY) == {hash_uid("1.2.3.2"): "low-disk"}, "the study is not whole"
    assert len(spool.instances(STUDY)) == 1
    free[0] = 1000
    put(spool, "2")
    assert spool.missing(STUDY) == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_while_it_is_written_is_the_same(spool, tmp_path, monkeypatch, number):
    def full(descriptor):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NotTaken, match="the disk is full") as caught:
            put(spool)
    assert caught.value.dicom_status == 0xA700
    assert spool.instances(STUDY) == []
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_another_failure_of_the_disk_is_not_hidden(spool, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        put(spool)
    assert spool.instances(STUDY) == []


def test_an_instance_beyond_its_limit_is_given_up_at_once(tmp_path):
    spool = Spool(tmp_path, SpoolLimits(instance_bytes=200, free_bytes=0))
    source = io.BytesIO(dicom(b"x" * (5 << 20)))
    with pytest.raises(NotTaken, match="at most 200 bytes, got more") as caught:
        spool.store("1.2.3", "1.2.3.1", source)
    assert source.tell() <= (1 << 20) + 132, "the rest is not read"
    assert (caught.value.code, caught.value.dicom_status) == ("too-large", 0xC000)
    assert spool.missing(STUDY) == {hash_uid("1.2.3.1"): "too-large"}
    assert spool.store("1.2.3", "1.2.3.2", io.BytesIO(dicom(b"x" * 68))).taken is Taken.NEW, "200 are taken"


@pytest.mark.parametrize(
    "limits",
    [SpoolLimits(study_instances=2, free_bytes=0), SpoolLimits(study_bytes=2 * 136, free_bytes=0)],
    ids=["instances", "bytes"],
)
def test_a_study_beyond_its_limit_is_marked(tmp_path, limits):
    spool = Spool(tmp_path, limits)
    put(spool, "1"), put(spool, "2")
    assert put(spool, "2").taken is Taken.SAME
    assert spool.missing(STUDY) == {}
    for instance in ("3", "4", "5"):
        with pytest.raises(NotTaken, match="expected a study of at most") as caught:
            put(spool, instance)
    assert caught.value.code == "too-many"
    assert spool.missing(STUDY) == {hash_uid(f"1.2.3.{number}"): "too-many" for number in "345"}
    roomy = Spool(tmp_path, ROOMY)
    for instance in ("1", "3", "4", "5"):
        put(roomy, instance)
    assert roomy.missing(STUDY) == {}, "the limit was raised, and all was sent again"
    assert put(spool, "1", study="1.2.4").taken is Taken.NEW


def test_of_each_instance_the_size_is_asked_for_once(tmp_path, monkeypatch):
    """A study of thousands would else be looked at thousands of times."""
    spool, asked, real = Spool(tmp_path, ROOMY), [], Path.stat

    def stat(path, **options):
        asked.append(path)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    for number in range(20):
        put(spool, str(number))
    of_instances = [path for path in asked if path.name.endswith(".dcm") and path.parent.name == STUDY]
    assert 19 <= len(of_instances) <= 20


def test_limits_count_what_another_process_has_stored(tmp_path):
    limits = SpoolLimits(study_bytes=3 * 136, free_bytes=0)
    one, other = Spool(tmp_path, limits), Spool(tmp_path, limits)
    put(one, "1"), put(other, "2"), put(one, "3")
    for spool in (one, other):
        with pytest.raises(NotTaken):
            put(spool, "4")


def test_bytes_that_changed_are_found(spool):
    good, bad = put(spool, "1").instance, put(spool, "2").instance
    bad.path.write_bytes(dicom(b"bode"))
    assert spool.damaged(STUDY) == [bad]
    assert good not in spool.damaged(STUDY)


def test_all_of_a_study_is_removed_at_once(spool):
    put(spool, "1"), put(spool, "1", b"another")
    spool.miss(STUDY, Mark("ab" * 32, "cut-off", "door"))
    spool.discard(STUDY, nullcontext())
    assert list((spool.folder / "studies").iterdir()) == []
    spool.discard(STUDY, nullcontext())
    assert list((spool.folder / "studies").iterdir()) == []


def test_a_study_that_is_not_at_rest_is_not_removed(spool):
    put(spool, "1")

    @contextmanager
    def at_rest():
        raise MedkitError("something came")
        yield

    with pytest.raises(MedkitError, match="something came"):
        spool.discard(STUDY, at_rest())
    assert len(spool.instances(STUDY)) == 1


def test_what_comes_after_a_removal_that_broke_off_stays(spool, monkeypatch):
    """The same instance again, which was acknowledged."""
    put(spool, "1")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
        with pytest.raises(OSError, match="no"):
            spool.discard(STUDY, nullcontext())
    assert (spool.studies(), len(list((spool.folder / "studies").iterdir()))) == ([], 1)
    put(spool, "1")
    spool.remove_discarded()
    assert [path.name for path in (spool.folder / "studies").iterdir()] == [STUDY]
    assert len(spool.instances(STUDY)) == 1


def test_studies_that_nothing_was_added_to_for_so_long(tmp_path):
    spool = Spool(tmp_path, ROOMY, clock=lambda: 1000.0)
    for uid, age in (("1.2.3", 100), ("1.2.5", 10)):
        put(spool, study=uid)
        os.utime(tmp_path / "studies" / hash_uid(uid), (1000 - age, 1000 - age))
    assert spool.untouched(50) == [STUDY]
    assert spool.untouched(5) == sorted([STUDY, hash_uid("1.2.5")])
    assert spool.untouched(500) == []


def test_a_study_that_goes_while_the_others_are_looked_at_is_none_of_them(spool, monkeypatch):
    put(spool), put(spool, study="1.2.5")
    found = spool.studies()
    spool.discard(STUDY, nullcontext())
    monkeypatch.setattr(spool, "studies", lambda: found)
    assert spool.untouched(-1) == [hash_uid("1.2.5")]


def test_a_file_that_cannot_be_removed_keeps_no_other_from_going(spool, monkeypatch):
    studies, folder = [f"1.2.{number}" for number in (3, 4, 5)], spool.folder / "studies"
    refused = {f"{hash_uid(uid)}.removed" for uid in studies}
    real = shutil.rmtree

    def rmtree(path):
        if path.name in refused:
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", rmtree)
        for uid in studies:
            put(spool, study=uid)
            with pytest.raises(PermissionError):
                spool.discard(hash_uid(uid), nullcontext())
        refused = {f"{STUDY}.removed"}
        with pytest.raises(PermissionError, match=STUDY):
            spool.remove_discarded()
    assert [path.name for path in folder.iterdir()] == [f"{STUDY}.removed"]
    spool.remove_discarded()
    assert list(folder.iterdir()) == []


def test_to_send_a_damaged_instance_again_mends_it(spool):
    one = put(spool, "1").instance
    one.path.write_bytes(bytes(one.size))
    assert put(spool, "1").taken is Taken.SAME
    assert spool.damaged(STUDY) == []
    one.path.write_bytes(bytes(one.size))
    put(spool, "1", b"in another encoding")
    assert spool.damaged(STUDY) == spool.conflicts(STUDY) == []


def test_the_same_instance_in_another_encoding_is_no_conflict(tmp_path, spool):
    study = write_study(tmp_path / "in", slices=1)
    uid, taken = str(study.datasets[0].SOPInstanceUID), []

    def send(change):
        dataset, file = pydicom.dcmread(study.paths[0]), io.BytesIO()
        change(dataset)
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        file.seek(0)
        taken.append(spool.store(study.uid, uid, file).taken)

    def as_implicit(dataset):
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset._is_implicit_VR = True

    send(lambda dataset: None)
    send(lambda dataset: setattr(dataset.file_meta, "ImplementationVersionName", "ANOTHER"))
    send(as_implicit)
    assert taken == [Taken.NEW, Taken.SAME, Taken.SAME]
    assert len(spool.instances(study.hash)) == 1
    send(lambda dataset: setattr(dataset, "PatientName", "Another^One"))
    assert taken[-1] is Taken.CONFLICT
    assert spool.conflicts(study.hash) == [hash_uid(uid)]


def test_many_threads_store_the_same_study(spool):
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda n: put(spool, str(n % 10)), range(80)))
    assert len(spool.instances(STUDY)) == 10
    assert spool.conflicts(STUDY) == spool.damaged(STUDY) == []
    assert {one.taken for one in stored} <= {Taken.NEW, Taken.SAME}


WRITER = """
import io, sys
from pathlib import Path
from medkit.batch.spool import Spool, SpoolLimits
spool = Spool(Path(sys.argv[1]), SpoolLimits(free_bytes=0))
for number in range(100_000):
    spool.store("1.2.3", f"1.2.3.{number}", io.BytesIO(bytes(128) + b"DICM" + b"x" * 100_000))
    print(number, flush=True)
"""


def test_killed_at_any_moment_what_was_acknowledged_is_whole(tmp_path):
    acknowledged = -1
    for wanted in (3, 11, 24):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            while acknowledged < wanted:
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        spool = Spool(tmp_path, ROOMY)
        held = {one.instance for one in spool.instances(STUDY)}
        assert {hash_uid(f"1.2.3.{number}") for number in range(acknowledged + 1)} <= held
        assert spool.damaged(STUDY) == []
        acknowledged = -1


def test_an_instance_that_is_there_is_not_missed_when_it_is_sent_again_at_a_bad_moment(tmp_path):
    free = [1000]
    spool = Spool(tmp_path, SpoolLimits(free_bytes=1000), lambda path: SimpleNamespace(free=free[0]))
    put(spool, "1")
    free[0] = 0
    with pytest.raises(NotTaken):
        put(spool, "1")
    assert spool.missing(STUDY) == {}


def test_what_a_killed_process_left_half_written_is_swept(tmp_path):
    now = [time.time()]
    spool = Spool(tmp_path / "spool", ROOMY, clock=lambda: now[0])
    kept = put(spool).instance.path
    incoming = tmp_path / "spool" / "incoming"
    (incoming / ".unfinished-77-a").write_bytes(b"Doe^Jane")
    assert spool.sweep(60) == 0
    assert len(list(incoming.iterdir())) == 1
    now[0] += 61
    assert spool.sweep(60) == 1
    assert not list(incoming.iterdir())
    assert kept.exists()
    assert spool.sweep(0) == 0
