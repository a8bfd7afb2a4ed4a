from __future__ import annotations

import pytest

from medkit.batch.delivery.troubles import Trouble, asking, find_destination, worst
from medkit.dicom.network.archive import DOWN, ArchiveDown, ArchiveRefused
from tests.batch.delivery.outlets import FakeArchive


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ArchiveDown("nobody answers"), DOWN, "nobody answers"),
        (ArchiveRefused("not-for-you", "it said no"), "not-for-you", "it said no"),
        (Trouble("other", "as it was"), "other", "as it was"),
        (
            KeyError("Somebody^Some"),
            "delivery-fault",
            "pacs: expected an answer, got a fault of the program (KeyError)",
        ),
    ],
)
def test_whatever_is_raised_becomes_a_trouble_without_strange_words(error, code, reason):
    with pytest.raises(Trouble) as caught, asking(FakeArchive()):
        raise error
    assert (caught.value.code, str(caught.value)) == (code, reason)


def test_a_kill_is_no_trouble():
    with pytest.raises(KeyboardInterrupt), asking(FakeArchive()):
        raise KeyboardInterrupt


def test_what_time_does_not_mend_counts_more():
    waits, fails = Trouble(DOWN, "later"), Trouble("other", "never")
    assert worst([waits, fails]) is worst([fails, waits]) is fails
    assert worst([waits]) is waits


def test_an_unknown_destination_is_told_with_those_that_there_are():
    archive = FakeArchive()
    assert find_destination({"pacs": archive}, "pacs") is archive
    with pytest.raises(Trouble, match=r"\(pacs\), got vna"):
        find_destination({"pacs": archive}, "vna")
