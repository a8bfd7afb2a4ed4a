from __future__ import annotations

import logging

from medkit.batch.delivery.withdrawing import withdraw_due
from medkit.batch.ledger import Stage
from tests.batch.delivery.outlets import NOTE
from tests.batch.ledger.stories import STUDY


def withdraw(job, study=None):
    return withdraw_due(job.ledger, job.destinations, job.results, job.audit, study)


def refused_after_delivery(job):
    job.make("7", "8")
    job.deliver()
    job.arrive("1", "late")
    job.ledger.refuse(job.ledger.claim(Stage.MAKE), "tilt", "it is tilted")


def test_of_a_study_that_was_refused_later_nothing_stays(job):
    refused_after_delivery(job)
    assert len(job.ledger.withdrawals()) == 4
    assert withdraw(job, "0" * 64) == []
    assert job.in_archive() != {}
    assert withdraw(job) == []
    assert job.in_archive() == job.in_folder() == {}
    assert job.ledger.withdrawals() == []
    assert job.events().count("object-withdrawn") == 4
    assert withdraw(job) == []
    assert job.archive.sent[f"2.25.7{NOTE}"] == 1


def test_what_cannot_be_withdrawn_stays_due_and_the_others_go_on(job):
    refused_after_delivery(job)
    job.archive.faults = ["down", "raises"]
    troubles = withdraw(job, STUDY)
    assert [trouble.code for trouble in troubles] == ["archive-down", "delivery-fault"]
    assert [due.destination for due in job.ledger.withdrawals()] == ["pacs", "pacs"]
    assert job.in_folder() == {}
    pacs = job.destinations.pop("pacs")
    assert [trouble.code for trouble in withdraw(job)] == ["destination-unknown"] * 2
    job.destinations["pacs"] = pacs
    assert withdraw(job) == []
    assert job.in_archive() == {}


def test_another_worker_that_was_quicker_does_no_harm(job, monkeypatch):
    refused_after_delivery(job)
    real = job.destinations["folder"].withdraw

    def meanwhile(made):
        real(made)
        job.ledger.withdrawing(STUDY, made.uid, "folder")
        job.ledger.withdrawn(STUDY, made.uid, "folder")

    monkeypatch.setattr(job.destinations["folder"], "withdraw", meanwhile)
    assert withdraw(job) == []
    assert job.ledger.withdrawals() == []


def test_a_file_of_an_earlier_revision_that_is_gone_needs_only_the_name_in_a_folder(job):
    refused_after_delivery(job)
    for path in job.results.rglob("*.dcm"):
        path.unlink()
    assert {trouble.code for trouble in withdraw(job)} == {"result-unreadable"}
    assert job.in_folder() == {}


def test_of_a_result_whose_file_is_gone_the_archive_is_asked_by_its_study(job):
    job.make("7", destinations=("pacs",))
    job.deliver()
    for path in job.results.rglob("*.dcm"):
        path.unlink()
    job.arrive("1", "late")
    job.make("8", destinations=("pacs",))
    assert job.deliver() == "delivered"
    assert set(job.in_archive()) == {"2.25.8"}
    assert job.archive.objects[f"2.25.7{NOTE}"].PatientName == "Somebody^Some"


def test_a_result_that_is_gone_here_and_there_has_nothing_to_be_withdrawn(job):
    job.make("7", destinations=("pacs",))
    job.deliver()
    for path in job.results.rglob("*.dcm"):
        path.unlink()
    job.archive.objects.clear()
    job.arrive("1", "late")
    job.make("8", destinations=("pacs",))
    assert job.deliver() == "delivered"
    assert set(job.archive.objects) == {"2.25.8"}


def test_each_withdrawal_is_a_line_of_the_log_and_each_trouble_names_its_destination(job, caplog):
    caplog.set_level(logging.INFO, "medkit.batch.delivery.withdrawing")
    refused_after_delivery(job)
    job.archive.faults = ["down"]
    assert [trouble.destination for trouble in withdraw(job, STUDY)] == ["pacs"]
    told = sorted(one.medkit_fields["destination"] for one in caplog.records)
    assert told == ["folder", "folder", "pacs"]
    assert {one.getMessage() for one in caplog.records} == {"a result that no longer counts was withdrawn"}
