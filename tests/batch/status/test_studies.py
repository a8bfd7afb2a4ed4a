from __future__ import annotations

import getpass

import pytest

from medkit.batch.audit import AuditLog
from medkit.batch.status.studies import find_study, operator
from medkit.errors import UsageError
from tests.batch.status.live import study, uid


def test_a_study_goes_by_its_hash_a_part_of_it_or_its_uid(batch):
    for name in ("a", "b"):
        batch.receive(name)
    whole = study("a")
    for text in (whole, whole[:12], whole[:12].upper(), uid("a"), f" {uid('a')} "):
        assert find_study(batch.ledger, text) == whole


def test_a_study_goes_by_the_uid_of_a_result_too(batch):
    for name in ("a", "b"):
        batch.deliver(name)
        (result,) = batch.ledger.results(study(name), 1)
        assert find_study(batch.ledger, result.uid) == study(name)
        assert find_study(batch.ledger, f"{result.uid}.dcm") == study(name)
    with pytest.raises(UsageError, match="got neither"):
        find_study(batch.ledger, f"{result.uid}.1")


@pytest.mark.parametrize("text", ["", "abc", "xyz12345", "../etc", "%", "1.2.3.", "a" * 65])
def test_what_names_no_study_is_refused(batch, text):
    batch.receive("a")
    with pytest.raises(UsageError, match="expected the hash of a study"):
        find_study(batch.ledger, text)


def test_none_and_several_are_told_apart(batch):
    for number in range(2):
        batch.ledger.receive("abcdef" + f"{number}" * 58)
    with pytest.raises(UsageError, match="got several"):
        find_study(batch.ledger, "abcdef")
    for text in ("0000", "1.2.840.9"):
        with pytest.raises(
            UsageError, match="expected a study of this batch, or a result's SOP Instance UID, got neither"
        ):
            find_study(batch.ledger, text)


def test_the_operator_is_named_as_the_audit_log_takes_it(tmp_path, monkeypatch):
    for user in ("anna", "DOMAIN\\Jörg Müller", "", "-" * 100):
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        AuditLog(tmp_path, operator())
    monkeypatch.setattr(getpass, "getuser", lambda: {}["no such user"])
    assert operator().startswith("operator@")
