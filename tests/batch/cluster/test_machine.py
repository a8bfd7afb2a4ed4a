"""What a machine does to studies is told from what is wrong with them."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from medkit.batch.cluster.machine import device_fault, fault_behind, store_fault
from medkit.batch.spool import Spool
from medkit.errors import CaseError


def test_a_missing_mount_is_told_and_no_store_is_made_in_its_place(tmp_path):
    (tmp_path / "spool").mkdir()
    assert "No such file" in store_fault(tmp_path / "spool")
    assert list((tmp_path / "spool").iterdir()) == []
    Spool(tmp_path / "spool")
    assert store_fault(tmp_path / "spool") == ""


@pytest.mark.parametrize(
    ("number", "machines"),
    [(errno.ESTALE, True), (errno.ENOTCONN, True), (errno.EIO, False), (errno.ENOENT, False)],
)
def test_a_file_system_that_went_away_is_no_studys_fault(tmp_path, number, machines):
    Spool(tmp_path / "spool")
    cause = OSError(number, os.strerror(number))
    error = CaseError("pipeline-failed", "x: it failed")
    error.__cause__ = cause
    for one in (cause, error):
        assert bool(fault_behind(one, tmp_path / "spool")) is machines


def test_an_error_while_the_store_is_gone_is_no_studys_fault(tmp_path):
    assert "expected the store" in fault_behind(ValueError("others"), tmp_path / "spool")


def test_a_gpu_that_was_used_has_to_answer(monkeypatch):
    assert device_fault() == ""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)

    def broken(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch, "zeros", broken)
    assert device_fault() == "RuntimeError"
