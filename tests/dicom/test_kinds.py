"""Every kind of generated series is read rightly, or refused with the right code; none wrongly."""

from __future__ import annotations

import pytest

from medkit.dicom import read
from tests.dicom.refused_kinds import REFUSED
from tests.dicom_series import KINDS, Outcome, judge, make


def judged(truth, reading, repaired=False):
    got = [(volume.array, volume.affine) for volume in reading.volumes]
    return judge(truth, got, refusals=len(reading.refused), repaired=repaired)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_read_rightly_or_refused(name, tmp_path):
    kind = KINDS[name]
    truth = make(name, tmp_path)
    reading = read(tmp_path)
    verdict = judged(truth, reading)
    assert verdict.outcome is (Outcome.REFUSED if name in REFUSED else Outcome.RIGHT), verdict.reason
    if name in REFUSED:
        assert reading.refused[0].code == REFUSED[name]
        assert not truth.volumes, "the table is of what may be refused"
    if kind.repairs or kind.picks:
        verdict = judged(truth, read(tmp_path, repairs=kind.repairs, picks=dict(kind.picks)), repaired=True)
        assert verdict.outcome is Outcome.RIGHT, verdict.reason


def test_the_table_names_kinds_that_there_are():
    assert len(KINDS) >= 140
    assert set(REFUSED) <= set(KINDS)
    assert len(REFUSED) < len(KINDS) / 3


def test_a_kind_is_no_other_for_another_seed(tmp_path):
    names = [name for name in KINDS if name not in REFUSED][::9]
    assert len(names) > 20
    for name in names:
        truth = make(name, tmp_path / name, seed=3)
        assert judged(truth, read(tmp_path / name)).outcome is Outcome.RIGHT, name
