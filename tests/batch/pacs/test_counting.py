"""A study that is sent here is counted in the archive that has it too, over both protocols."""

from __future__ import annotations

from medkit.batch.delivery.deliver import Outcome
from medkit.batch.intake.counting import ArchiveCount
from medkit.batch.ledger import State
from medkit.dicom.network.node import StorageNode
from medkit.dicom.objects import read_uids
from tests.batch.ledger.stories import Clock
from tests.batch.pacs.hospital import put_all
from tests.batch.pacs.test_superseding import by_place
from tests.servers.dcmtk import storescu


def test_slices_that_never_came_are_missed(batch, connect, orthanc, study):
    archive, sources = connect(orthanc), by_place(study)
    put_all(orthanc, sources)
    count = ArchiveCount("pacs", archive, batch.intake, 0.0)
    with StorageNode("MEDKIT", count.answer, ["SCANNER"], port=0) as node:
        assert storescu(node.port, sources[:10]).returncode == 0
        for _ in range(3):
            assert count.count() is None
            assert batch.complete() == {}
        assert storescu(node.port, sources[10:]).returncode == 0
        assert count.count() is None
        assert batch.complete() == {batch.record.study: 1}
        assert batch.spool.expected(batch.record.study) == {read_uids(sources[0]).series: len(sources)}
        assert batch.make().state is State.MADE
        assert b"not checked with an archive" not in b"".join(
            path.read_bytes() for path in batch.job.results.rglob("*.sr.dcm")
        )
        assert batch.deliver(archive) is Outcome.DELIVERED, batch.record.reason
        assert storescu(node.port, sources[:1]).returncode == 0
        assert count.count() is None, "our own results are there by now, too"
        assert batch.complete() == {}
    assert (batch.record.revision, batch.record.state) == (1, State.DELIVERED)
    assert not batch.record.arriving


def test_what_the_archive_has_less_of_is_made_and_said_to_be_unchecked(batch, connect, orthanc, study):
    archive, sources = connect(orthanc), by_place(study)
    put_all(orthanc, sources[2:])
    count = ArchiveCount("pacs", archive, batch.intake, 0.0, clock := Clock())
    with StorageNode("MEDKIT", count.answer, ["SCANNER"], port=0) as node:
        assert storescu(node.port, sources).returncode == 0
        for _ in range(batch.intake.ledger.policy.attempts):
            assert count.count() is None
            clock.pass_by(3600)
        assert batch.complete() == {batch.record.study: 1}
    assert batch.make().state is State.MADE
    said = b"the number of images of series 3 was not checked with an archive, which has fewer"
    assert said in b"".join(path.read_bytes() for path in batch.job.results.rglob("*.sr.dcm"))
