"""Callers that a node rejects stand on the status page, whatever they call themselves, until an hour after the last."""

from __future__ import annotations

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from medkit.batch.notices import Notices
from medkit.batch.service.callers import RejectedCallers
from medkit.batch.service.parts import make_node
from medkit.batch.service.settings import NodeSettings
from medkit.dicom.network.node import Rejection
from tests.batch.intake.door import open_intake
from tests.batch.ledger.stories import Clock
from tests.dicom.network import raw_caller
from tests.dicom.network.takers import eventually


@pytest.fixture
def notices(tmp_path):
    return Notices(tmp_path / "notices")


def rejection(ae_title="CT1", called="MEDKIT", *, unknown=False):
    return Rejection(ae_title, called, "10.0.0.7", unknown, called != "MEDKIT")


def test_callers_that_are_none_are_told_with_their_number_and_forgotten_after_an_hour(notices):
    clock = Clock()
    callers = RejectedCallers("node-1", "MEDKIT", notices, clock)
    callers.once()
    assert notices.all() == []
    for title in ("CT1", "CT2"):
        callers.add(rejection(title, unknown=True))
    callers.once()
    (notice,) = notices.all()
    assert (notice.name, notice.code, notice.passing) == ("node-1-callers", "caller-rejected", False)
    assert notice.message == (
        "2 associations were rejected, the last of 'CT2' from 10.0.0.7, which is none of this node's callers: name it "
        "in callers and start the service anew if it may send, or mend its own title there"
    )
    clock.pass_by(3600)
    callers.once()
    assert len(notices.all()) == 1
    clock.pass_by(1)
    callers.once()
    assert notices.all() == []
    callers.add(rejection(unknown=True))
    callers.once()
    assert notices.all()[0].message.startswith("1 association was rejected, the last of 'CT1'")


def test_a_called_title_that_is_not_ours_is_told_with_both_and_where_to_mend_it(notices):
    callers = RejectedCallers("node-1", "MEDKIT", notices, Clock())
    callers.add(rejection("CT1", "MEDKITT"))
    callers.once()
    (notice,) = notices.all()
    assert (notice.name, notice.code, notice.passing) == ("node-1-title", "called-title-rejected", False)
    assert notice.message == (
        "1 association was rejected, the last of 'CT1' from 10.0.0.7, which called 'MEDKITT', and this node is "
        "'MEDKIT': have the sender call 'MEDKIT', or change ae_title of the node and start the service anew"
    )
    callers.add(rejection("CT2", unknown=True))
    callers.add(rejection("CT3", "MEDKITT", unknown=True))
    callers.once()
    assert [notice.name for notice in notices.all()] == ["node-1-callers", "node-1-title"]
    for notice in notices.all():
        assert notice.message.startswith("2 associations were rejected, the last of 'CT3' from 10.0.0.7, ")


def test_titles_that_are_none_do_no_harm(notices):
    callers = RejectedCallers("node-1", "MEDKIT", notices, Clock())
    callers.add(rejection("\x1b[2J\nä" + "X" * 50, "\r\n"))
    callers.once()
    assert "'?[2J??XXXXXXXXXX' from 10.0.0.7, which called '??'" in notices.all()[0].message


def test_a_node_tells_of_those_that_it_rejects(tmp_path, notices):
    intake = open_intake(tmp_path / "job", Clock())
    callers = RejectedCallers("node-1", "MEDKIT", notices)
    settings = NodeSettings("MEDKIT", ("SCANNER",), {"port": 0})
    with make_node(settings, intake, rejected=callers.add) as node:
        for title, called in (("SCANNER", "MEDKIT"), ("STRANGER", "MEDKIT"), ("SCANNER", "MEDKITT")):
            entity = AE(title)
            entity.add_requested_context(Verification)
            association = entity.associate("127.0.0.1", node.port, ae_title=called)
            if association.is_established:
                association.release()
        assert eventually(lambda: (callers._unknown.count, callers._misnamed.count) == (1, 1))
        connection, answer = raw_caller.ask(node.port, b"<b>OTHER")
        connection.close()
        assert answer == 3
        assert eventually(lambda: callers._unknown.count == 2)
    callers.once()
    unknown, misnamed = notices.all()
    assert (
        "2 associations were rejected, the last of '<b>OTHER' from 127.0.0.1, which is none"
        in unknown.message
    )
    assert (
        "1 association was rejected, the last of 'SCANNER' from 127.0.0.1, which called 'MEDKITT'"
        in misnamed.message
    )
    intake.ledger.close()
